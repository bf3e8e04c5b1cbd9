"""Owner operations of a test: site, owner's key, stores that fail."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyrage

from backup.ownership.custodian_public_key import Custodian, parse_custodian
from backup.ownership.owner_session import OwnerSession, open_owner
from backup.stores.keeper import KeeperStore
from backup.trust.key_files import Host, Identity, open_identity
from tests.backup.site import Clock, Died, DyingStore, Site


class KeyDrawer(DyingStore, KeeperStore):
    """A key store in memory with removals that can simulate a death, too."""

    def remove(self, name: str) -> None:
        self.puts += 1
        if self.puts_left == 0:
            if self.is_stored:
                self._objects.pop(name, None)
            raise Died
        if self.puts_left is not None:
            self.puts_left -= 1
        self._objects.pop(name, None)

    def _clock(self) -> datetime:
        return self._now()

    def _extend_lock(self, name: str, until: datetime) -> None:
        raise NotImplementedError

    def _remove(self, name: str) -> None:
        self.remove(name)


@dataclass(kw_only=True)
class OwnedSite(Site):
    """A site with the owner's key."""

    vault: DyingStore
    keys: KeyDrawer

    @property
    def office(self) -> OwnerSession:
        return OwnerSession(
            owner=open_owner(self.folder / "owner.json"),
            owner_file=self.folder / "owner.json",
            vault=self.vault,
            keys=self.keys,
            now=self.clock,
        )

    def host_of(self, folder: str) -> Host:
        return Host.load(self.folder / folder)


def owned_site(folder: Path) -> OwnedSite:
    clock = Clock()
    site = OwnedSite(folder=folder, vault=DyingStore(now=clock), keys=KeyDrawer(), clock=clock)
    site.create()
    return site


def new_person(name: str) -> tuple[Custodian, Identity]:
    """Make a custodian with an identity of its own."""
    identity = pyrage.x25519.Identity.generate()
    return parse_custodian(str(identity.to_public()), name), open_identity(str(identity).encode())


def dies_everywhere(
    tmp_path: Path, deed: Callable[[OwnedSite], Any], before: Callable[[OwnedSite], Any]
) -> list[OwnedSite]:
    """Repeat an owner operation, killed before and after each operation.

    Yield each site after its operation is complete; at the last site, nothing was killed.
    """
    dry = owned_site(tmp_path / "dry")
    before(dry)
    counts = (dry.vault.puts, dry.keys.puts)
    deed(dry)
    operations = [("vault", n) for n in range(dry.vault.puts - counts[0])]
    operations += [("keys", n) for n in range(dry.keys.puts - counts[1])]
    sites = []
    for number, (which, at) in enumerate(operations):
        for is_stored in (False, True):
            site = owned_site(tmp_path / f"{which}-{number}-{is_stored}")
            before(site)
            store = getattr(site, which)
            store.puts_left, store.is_stored = at, is_stored
            try:
                deed(site)
            except Died:
                pass
            else:
                raise AssertionError("the deed was to die here")
            store.puts_left = None
            deed(site)
            sites.append(site)
    return [*sites, dry]
