"""A small repository with one object of each kind, for exhaustive tests."""

from dataclasses import dataclass
from pathlib import Path

from backup.format.object_names import keep_name, snapshot_name
from backup.format.pack import HEADER_BYTES, SEGMENT_BYTES
from backup.ownership.operations.custodians import add_custodian
from backup.ownership.operations.domains import new_generation
from backup.ownership.owner_session import OwnerSession, open_owner
from backup.retention.retention_run import run_retention
from backup.retention.rules import RetentionRules
from backup.trust.key_files import Identity
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import read_history
from tests.backup.keep_site import KeptVault, new_keeper
from tests.backup.memory_stores import MemoryKeeperStore
from tests.backup.owner_site import new_person
from tests.backup.site import WRITER, Clock, Site, TamperedStore
from tests.backup.trees import noise

BURNT = snapshot_name(WRITER, 2)
JUNK = b"junk, put by somebody who holds the writer's key of the store\n" * 2


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The repository; both stores may be copied, and the copies tampered with."""

    site: Site
    vault: TamperedStore
    keys: TamperedStore
    second: Identity  # identity of the later custodian

    @property
    def names(self) -> list[str]:
        """Return every object of the vault except the junk, which no record names."""
        return [name for name in self.vault.names() if name != BURNT]

    def get(self, name: str) -> bytes:
        return (self.keys if name.startswith("k/") else self.vault).get(name)


def whole_repository(folder: Path) -> Whole:
    """Make roots of three operations, a keep record, two points and junk.

    There are packs of one and of two segments, and two generations of the key; the first generation
    is wrapped again for a second custodian.
    """
    clock = Clock()
    vault, keys = KeptVault(clock), MemoryKeeperStore()
    site = Site(folder=folder, vault=vault, keys=keys, clock=clock).create()
    keeper = new_keeper(site)
    office = OwnerSession(
        owner=open_owner(folder / "owner.json"),
        owner_file=folder / "owner.json",
        vault=vault,
        keys=keys,
        now=clock,
    )
    source = folder / "source"
    (source / "calls").mkdir(parents=True)
    (source / "call.wav").write_bytes(noise(SEGMENT_BYTES))
    (source / "calls" / "note.txt").write_text("who called, and why\n")
    site.back_up(source)
    vault.put(BURNT, JUNK)
    run_retention(vault, keeper, RetentionRules(), now=clock, distrust=[(WRITER, "00" * 32)])
    person, second = new_person("Second")
    add_custodian(office, custodian=person, identity=site.identity)
    (source / "calls" / "note.txt").write_text("who called again, and why\n")
    site.back_up(source)
    new_generation(office, domain="main")
    whole = Whole(site=site, vault=copy_of(vault), keys=copy_of(keys), second=second)
    _check_that_nothing_lacks(whole)
    return whole


def _check_that_nothing_lacks(whole: Whole) -> None:
    vault = whole.vault
    history = SnapshotHistory(WRITER, read_history(vault, load_root_chain(vault), WRITER))
    last = history.snapshots[3]
    assert last.skipped == (2,)
    assert last.keep_record is not None
    assert last.uses
    assert len(vault.names("pub/root/")) == 3
    assert vault.names("pub/keep/") == [keep_name(0)]
    assert len(vault.names("pub/format/")) == len(vault.names("pub/reader/")) == 1
    assert vault.names("w/desk-1/s/") == [snapshot_name(WRITER, n) for n in (1, 2, 3)]
    packs = sorted(history.packs.values())
    assert len(packs) == 4
    assert packs[-2] < HEADER_BYTES + SEGMENT_BYTES < packs[-1]
    assert whole.keys.names() == [
        f"k/main/{n}"
        for n in ("0000000000/0000000000", "0000000000/0000000001", "0000000001/0000000000")
    ]


def copy_of(store: MemoryKeeperStore) -> TamperedStore:
    twin = TamperedStore()
    twin._objects = dict(store._objects)
    return twin
