"""A site with a keeper and a movable clock, which remembers every tree."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.checker.verification import verify
from backup.format.canonical_json import to_json
from backup.format.keep_record import PackId
from backup.format.object_names import pack_prefix, parse_pack_name, root_name
from backup.format.root_record import KeeperGrant, root_to_bytes
from backup.records import BackupResult
from backup.repository import Repository
from backup.retention.keeper_key import Keeper
from backup.retention.retention_run import RetentionResult, plan_retention_run, run_retention
from backup.retention.rules import RetentionRules
from backup.retention.storage_forecast import StorageForecast
from backup.stores import ObjectLock
from backup.stores.keeper import KeeperStore
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import load_root_chain
from tests.backup.memory_stores import MemoryKeeperStore
from tests.backup.site import WRITER, Clock, Site
from tests.backup.trees import describe, noise

Tree = dict[bytes, tuple[object, ...]]
WEEKS = RetentionRules(
    everything=timedelta(days=40),
    daily=timedelta(days=40),
    weekly=timedelta(days=40),
    monthly=timedelta(days=40),
)


class KeptVault(MemoryKeeperStore):
    """A vault in memory for writers, for the keeper and for attackers."""

    def __init__(self, clock: Clock, lock: ObjectLock | None = None) -> None:
        super().__init__(now=clock, lock=lock)
        self.removals: list[str] = []

    def names(self, prefix: str = "") -> list[str]:
        return [stat.name for stat in self.list(prefix)]

    def replace(self, name: str, data: bytes) -> None:
        self._objects[name] = (data, self._objects[name][1])

    def lose(self, name: str) -> None:
        """Remove an object in spite of locks, as a disk fault or attacker would."""
        del self._objects[name]

    def _remove(self, name: str) -> None:
        super()._remove(name)
        self.removals.append(name)


@dataclass(kw_only=True)
class KeptSite:
    """A site, its keeper, and the tree that each of its points contains."""

    site: Site
    vault: KeeperStore
    keeper: Keeper
    rules: RetentionRules = field(default_factory=RetentionRules)
    trees: dict[str, Tree] = field(default_factory=dict)
    backups: int = 0

    @property
    def source(self) -> Path:
        return self.site.folder / "source"

    @property
    def clock(self) -> Clock:
        return self.site.clock

    def days(self, days: float) -> None:
        self.clock.forward(days=days)

    def next_backup(self, days: float = 1, **more: Any) -> BackupResult:
        """Advance the clock, change the source, and back it up."""
        self.days(days)
        self.backups += 1
        self.source.mkdir(exist_ok=True)
        (self.source / "steady.wav").write_bytes(noise(40_000, 1))
        (self.source / "today.wav").write_bytes(noise(40_000, 1000 + self.backups))
        (self.source / "log.txt").write_text(f"backup {self.backups}\n")
        result = self.site.back_up(self.source, **more)
        self.trees[result.point] = describe(self.source)
        return result

    def keep(self, **more: Any) -> RetentionResult:
        given: dict[str, Any] = {"now": self.clock} | more
        return run_retention(self.vault, self.keeper, self.rules, **given)

    def plan(self, **more: Any) -> tuple[RetentionResult, StorageForecast]:
        given: dict[str, Any] = {"now": self.clock} | more
        return plan_retention_run(self.vault, self.keeper.owner, self.rules, **given)

    def keeps(self) -> RetentionLog:
        return load_retention_log(self.vault, load_root_chain(self.vault))

    def packs(self) -> set[PackId]:
        found = (parse_pack_name(stat.name) for stat in self.vault.list(pack_prefix(WRITER)))
        return {pack for pack in found if pack is not None}

    def points(self) -> list[str]:
        return [point.name for point in Repository.open(self.vault).points()]

    def restore_all(self) -> None:
        """Check that every unexpired point restores as it was."""
        out = self.site.folder / "out"
        for name in self.points():
            shutil.rmtree(out, ignore_errors=True)
            assert self.site.restore(name, out).problems == ()
            assert describe(out / "files") == self.trees[name], name

    def check(self) -> None:
        """Restore all points and verify; only dropped packs may be missing."""
        self.restore_all()
        keeps = self.keeps()
        assert not keeps.dropped & self.packs()
        expired = {f"{writer}/{sequence:010d}" for writer, sequence in keeps.expired}
        assert set(self.points()) == set(self.trees) - expired
        report = verify(self.vault, keys=self.site.keys, identity=self.site.identity, read=True)
        assert [one for one in report.findings if one.severity == "error"] == []


def kept_site(
    folder: Path, vault: KeeperStore | None = None, clock: Clock | None = None, **more: Any
) -> KeptSite:
    """Make a site with a keeper that the owner authorized."""
    clock = clock or Clock()
    vault = vault or KeptVault(clock, **more)
    site = Site(folder=folder, vault=vault, keys=MemoryKeeperStore(), clock=clock).create()
    return KeptSite(site=site, vault=vault, keeper=new_keeper(site))


def ten_weeks(folder: Path) -> KeptSite:
    """Make ten weekly points; the oldest four are over 40 days old."""
    kept = kept_site(folder)
    kept.rules = WEEKS
    for _ in range(10):
        kept.next_backup(days=7)
    return kept


def vault_of(kept: KeptSite) -> KeptVault:
    assert isinstance(kept.vault, KeptVault)
    return kept.vault


def expired_and_marked(kept: KeptSite) -> None:
    """Let four points expire and mark the packs that only they needed."""
    result = kept.keep(max_percent=50)
    assert result.expired == tuple((WRITER, sequence) for sequence in (1, 2, 3, 4))
    assert result.marked
    assert result.removed == ()


def new_keeper(site: Site, *, file: str = "keeper.json") -> Keeper:
    """Make a keeper's file, and a root record that adds it."""
    seed = hashlib.sha256(file.encode()).digest()
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes_raw()
    grant = KeeperGrant(key=public, trusted_through=None)
    trust = load_root_chain(site.vault)
    sign_root(site, keepers=(*trust.root.keepers, grant))
    value = {
        "format": 1,
        "kind": "keeper",
        "repository": trust.root.repository.hex(),
        "owner": trust.root.owner.hex(),
        "keeper_key": seed.hex(),
    }
    path = site.folder / file
    path.write_bytes(to_json(value) + b"\n")
    return Keeper.load(path)


def sign_root(site: Site, **changes: Any) -> None:
    """Put the next root record with changed fields."""
    trust = load_root_chain(site.vault)
    owner = json.loads((site.folder / "owner.json").read_text())
    record = replace(
        trust.root,
        number=trust.root.number + 1,
        previous=bytes.fromhex(trust.links[-1].sha256),
        created=site.clock(),
        **changes,
    )
    signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(owner["owner_key"]))
    site.vault.put(root_name(record.number), root_to_bytes(record, signing))
