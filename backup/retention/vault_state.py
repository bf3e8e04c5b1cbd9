"""Vault state: records, recovery points and packs; blocked writers.

- A root record is the owner's signed list of trusted keys. A keep record is a list of expired
  recovery points and of packs to remove, signed by a keeper, the machine that may expire backups. A
  slot is the object with one sequence number among the snapshots of a writer (backup host). The
  vault is the folder or bucket with the encrypted backups.
- Snapshots never change. So if a run reads the state twice, it reads each snapshot once. If a new
  root record is in force, a slot without a valid snapshot is read again.
- A writer is `blocked` if a snapshot of its history is missing or unreadable, because the packs
  that this snapshot needs are unknown. Until the snapshot is readable again, no recovery point of
  the writer expires, and none of its packs is removed. An expired snapshot does not block its
  writer.
- A pack counts only if it has a valid name and belongs to a writer in the root record.
- No key is needed, because the public part of a snapshot names its packs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from backup.errors import Damaged
from backup.findings import Findings
from backup.format.keep_record import PackId, SnapshotId
from backup.format.object_names import (
    MAX_SNAPSHOT_BYTES,
    pack_prefix,
    parse_number,
    parse_pack_name,
    snapshot_name,
    snapshot_prefix,
)
from backup.format.record_link import Link
from backup.format.snapshot import Snapshot
from backup.retention.rules import AgedPoint, point_times
from backup.stores import Stat, Store
from backup.stores.parallel_reads import read_ahead
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import Slot, read_listed

T = TypeVar("T")
# Called with the action, the number of objects done, and their total.
ProgressCallback = Callable[[str, int, int], None]


def no_progress(_action: str, _done: int, _total: int) -> None:
    """Ignore progress."""


def with_progress(
    answers: Iterable[T], action: str, total: int, progress: ProgressCallback
) -> Iterator[T]:
    """Yield each answer; before it, report how many were received."""
    for done, answer in enumerate(answers, 1):
        progress(action, done, total)
        yield answer


@dataclass(frozen=True, kw_only=True, slots=True)
class VaultState:
    """Objects of the vault, and the decisions in its records."""

    trust: RootChain
    log: RetentionLog
    points: tuple[AgedPoint, ...]  # valid and unexpired; those of a writer in order of sequence
    find_needed_packs: Callable[[SnapshotId], set[str]]  # returns the packs of a recovery point
    # Slots without a valid snapshot, with the times at which they were put. Slots that a later
    # snapshot skips, and expired slots, are omitted.
    unreadable: tuple[tuple[SnapshotId, datetime], ...]
    packs: Mapping[PackId, Stat]  # existing packs
    named: frozenset[PackId]  # packs that any valid snapshot names, including expired snapshots
    snapshots: tuple[Stat, ...]  # all slots
    blocked: Mapping[str, str]  # reason, by blocked writer


@dataclass(kw_only=True)
class Reader:
    """Reader of the state; a later call reads only new snapshots."""

    vault: Store
    owner: bytes
    progress: ProgressCallback = no_progress
    _slots: dict[str, Slot] = field(default_factory=dict)
    _root: Link | None = None  # the root record with which `_slots` were verified

    def read(self) -> VaultState:
        """Read the current state."""
        # Read the keep records, which mark packs for removal, before the snapshots. A writer reads
        # the marks before it puts a snapshot, and does not use marked packs. If a new snapshot uses
        # a marked pack nevertheless, its writer read the records before the mark was put. Then this
        # call, which reads the snapshots later, finds that the pack is needed.
        trust = load_root_chain(self.vault, owner=self.owner)
        if self._root != trust.links[-1]:
            # A newer root record may make an invalid slot valid.
            valid = {
                number: slot for number, slot in self._slots.items() if slot.snapshot is not None
            }
            self._slots = valid
            self._root = trust.links[-1]
        log = load_retention_log(self.vault, trust)
        points: list[AgedPoint] = []
        histories: dict[str, SnapshotHistory] = {}
        unreadable: list[tuple[SnapshotId, datetime]] = []
        packs: dict[PackId, Stat] = {}
        named: set[PackId] = set()
        snapshots: list[Stat] = []
        blocked: dict[str, str] = {}
        for writer in trust.root.writer_ids:
            # List packs before snapshots. So a pack in this list is either named by a snapshot that
            # is read afterwards, or too new to be marked for removal, or not needed.
            for stat in self.vault.list(pack_prefix(writer)):
                pack = parse_pack_name(stat.name)
                if pack is not None:
                    packs[pack] = stat
            stats = {
                number: stat
                for stat in self.vault.list(snapshot_prefix(writer))
                if (number := parse_number(stat.name, snapshot_prefix(writer))) is not None
            }
            snapshots += stats.values()
            reading = self._read_slots(trust, writer, stats.values())
            slots = [*with_progress(reading, "reading recovery points", len(stats), self.progress)]
            history = histories[writer] = SnapshotHistory(writer, slots)
            named.update((writer, sha256) for sha256 in history.packs)
            problem = _find_problem(history, log)
            if problem is not None:
                blocked[writer] = problem
            unreadable += [
                ((writer, number), stats[number].modified) for number in _unread(history, stats)
            ]
            points += [
                point
                for point in _points(trust, history.snapshots, stats)
                if point.id not in log.expired
            ]
        return VaultState(
            trust=trust,
            log=log,
            points=tuple(points),
            find_needed_packs=partial(_find_needed_packs, histories),
            unreadable=tuple(item for item in unreadable if item[0] not in log.expired),
            packs=packs,
            named=frozenset(named),
            snapshots=tuple(snapshots),
            blocked=blocked,
        )

    def _read_slots(self, trust: RootChain, writer: str, stats: Iterable[Stat]) -> Iterator[Slot]:
        def is_new(stat: Stat) -> bool:
            return stat.name not in self._slots

        for stat, read in read_ahead(self.vault, stats, MAX_SNAPSHOT_BYTES, is_new):
            known = self._slots.get(stat.name)
            if known is None:
                slot = read_listed(self.vault, trust, writer, stat, read)
                known = self._slots[stat.name] = replace(slot, sealed=b"")
            yield known


def _find_needed_packs(histories: Mapping[str, SnapshotHistory], point: SnapshotId) -> set[str]:
    """Return the packs that a recovery point needs.

    The set is computed at each call, because the sets of all recovery points need too much memory.
    """
    writer, sequence = point
    try:
        return histories[writer].needed_packs(sequence)
    except Damaged:
        return set()  # the writer is blocked


def _find_problem(history: SnapshotHistory, log: RetentionLog) -> str | None:
    """Return the reason for which a writer is blocked, or None."""
    findings = Findings()
    history.check(findings)
    prefix = snapshot_prefix(history.writer)
    for finding in findings.all():
        number = parse_number(finding.object, prefix)
        if finding.severity == "error" and (history.writer, number) not in log.expired:
            return f"{finding.object}: {finding.problem}"
    lost = {number for number, needed_by in history.lost().items() if needed_by}
    for sequence, snapshot in history.snapshots.items():
        if (history.writer, sequence) not in log.expired and (
            missing := lost & snapshot.uses.keys()
        ):
            name = snapshot_name(history.writer, sequence)
            return f"{name}: it needs packs of snapshot {min(missing)}, which is missing"
    return None


def _unread(history: SnapshotHistory, stats: Mapping[int, Stat]) -> Sequence[int]:
    skipped = history.skipped()
    return [number for number in stats if number not in history.snapshots and number not in skipped]


def _points(
    trust: RootChain, snapshots: Mapping[int, Snapshot], stats: Mapping[int, Stat]
) -> list[AgedPoint]:
    erased = {
        (domain.id, domain.generation): domain.erased
        for domain in trust.root.domains
        if domain.erased is not None
    }
    order = sorted(snapshots)
    times = point_times((snapshots[number].time, stats[number].modified) for number in order)
    return [
        AgedPoint(
            id=(snapshots[number].writer, number),
            set_name=snapshots[number].set_name,
            state=snapshots[number].state,
            moment=moment,
            stored=stats[number].modified,
            erased=erased.get((snapshots[number].domain, snapshots[number].generation)),
        )
        for number, moment in zip(order, times, strict=True)
    ]
