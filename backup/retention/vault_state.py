"""Everything that the keeper goes by, as it was at one moment: points, packs, and who needs what.

- Snapshots never change, so each is read once, however often a run looks again; what holds none,
  once for each root record.
- A writer whose history has a hole or a snapshot that cannot be read is `blocked`: what that one
  needed is not known, so nothing of the writer expires or goes until it is back.  One that has
  expired itself blocks nothing.
- Only packs under names of this format, of writers that a root record grants, are ever looked at.
- No key is needed: the public part of a snapshot names its packs.
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
    number_in,
    pack_in,
    packs_of,
    snapshot_name,
    snapshots_of,
)
from backup.format.record_link import Link
from backup.format.snapshot import Snapshot
from backup.retention.rules import AgedPoint, moments
from backup.stores import Stat, Store
from backup.stores.parallel_reads import read_ahead
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import Slot, SnapshotHistory, read_listed

T = TypeVar("T")
Watch = Callable[[str, int, int], None]  # what is done with objects, to how many, of how many


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def with_progress(answers: Iterable[T], what: str, total: int, watch: Watch) -> Iterator[T]:
    """Give each answer once it is counted."""
    for done, answer in enumerate(answers, 1):
        watch(what, done, total)
        yield answer


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What there is, and what the records say of it."""

    trust: RootChain
    keeps: RetentionLog
    points: tuple[AgedPoint, ...]  # valid and not expired, each writer's in order
    needs: Callable[[SnapshotId], set[str]]  # the packs that each of them needs
    unreadable: tuple[tuple[SnapshotId, datetime], ...]  # neither valid, burnt nor expired; stored
    packs: Mapping[PackId, Stat]  # that are there
    named: frozenset[PackId]  # by any valid snapshot, expired ones too
    snapshots: tuple[Stat, ...]
    blocked: Mapping[str, str]  # writer, and why


@dataclass(kw_only=True)
class Reader:
    """Reads the vault, and what it has not read before when it looks again."""

    vault: Store
    owner: bytes
    watch: Watch = no_progress
    _slots: dict[str, Slot] = field(default_factory=dict)
    _root: Link | None = None  # by which those that hold no snapshot were judged

    def look(self) -> View:
        """Read everything that the keeper goes by."""
        # The records first: a snapshot that is committed meanwhile is seen, and a mark is not
        # missed by it.
        trust = load_root_chain(self.vault, owner=self.owner)
        if self._root != trust.links[-1]:
            # What is not valid may become so by a root record that came meanwhile.
            valid = {n: slot for n, slot in self._slots.items() if slot.snapshot is not None}
            self._slots = valid
            self._root = trust.links[-1]
        keeps = load_retention_log(self.vault, trust)
        points: list[AgedPoint] = []
        histories: dict[str, SnapshotHistory] = {}
        unreadable: list[tuple[SnapshotId, datetime]] = []
        packs: dict[PackId, Stat] = {}
        named: set[PackId] = set()
        snapshots: list[Stat] = []
        blocked: dict[str, str] = {}
        for writer in trust.root.writer_ids:
            # Packs before snapshots: what is put meanwhile is named by a snapshot, or young.
            for stat in self.vault.list(packs_of(writer)):
                pack = pack_in(stat.name)
                if pack is not None:
                    packs[pack] = stat
            stats = {
                number: stat
                for stat in self.vault.list(snapshots_of(writer))
                if (number := number_in(stat.name, snapshots_of(writer))) is not None
            }
            snapshots += stats.values()
            reading = self._slots_of(trust, writer, stats.values())
            slots = [*with_progress(reading, "reading recovery points", len(stats), self.watch)]
            history = histories[writer] = SnapshotHistory(writer, slots)
            named.update((writer, sha256) for sha256 in history.packs)
            problem = _problem(history, keeps)
            if problem is not None:
                blocked[writer] = problem
            unreadable += [
                ((writer, number), stats[number].modified) for number in _unread(history, stats)
            ]
            points += [
                point
                for point in _points(trust, history.snapshots, stats)
                if point.id not in keeps.expired
            ]
        return View(
            trust=trust,
            keeps=keeps,
            points=tuple(points),
            needs=partial(_needs, histories),
            unreadable=tuple(one for one in unreadable if one[0] not in keeps.expired),
            packs=packs,
            named=frozenset(named),
            snapshots=tuple(snapshots),
            blocked=blocked,
        )

    def _slots_of(self, trust: RootChain, writer: str, stats: Iterable[Stat]) -> Iterator[Slot]:
        def is_new(stat: Stat) -> bool:
            return stat.name not in self._slots

        for stat, read in read_ahead(self.vault, stats, MAX_SNAPSHOT_BYTES, is_new):
            known = self._slots.get(stat.name)
            if known is None:
                slot = read_listed(self.vault, trust, writer, stat, read)
                known = self._slots[stat.name] = replace(slot, sealed=b"")
            yield known


def _needs(histories: Mapping[str, SnapshotHistory], point: SnapshotId) -> set[str]:
    """Worked out when it is asked for: of all points together it would not fit into memory."""
    writer, sequence = point
    try:
        return histories[writer].packs_of(sequence)
    except Damaged:
        return set()  # the writer is blocked


def _problem(history: SnapshotHistory, keeps: RetentionLog) -> str | None:
    found = Findings()
    history.check(found)
    prefix = snapshots_of(history.writer)
    for finding in found.all():
        number = number_in(finding.object, prefix)
        if finding.severity == "error" and (history.writer, number) not in keeps.expired:
            return f"{finding.object}: {finding.problem}"
    lost = {number for number, needed_by in history.lost().items() if needed_by}
    for sequence, snapshot in history.snapshots.items():
        if (history.writer, sequence) not in keeps.expired and (
            gone := lost & snapshot.uses.keys()
        ):
            name = snapshot_name(history.writer, sequence)
            return f"{name}: it needs packs of snapshot {min(gone)}, which is not there"
    return None


def _unread(history: SnapshotHistory, stats: Mapping[int, Stat]) -> Sequence[int]:
    passed_over = history.passed_over()
    return [n for n in stats if n not in history.snapshots and n not in passed_over]


def _points(
    trust: RootChain, snapshots: Mapping[int, Snapshot], stats: Mapping[int, Stat]
) -> list[AgedPoint]:
    erased = {
        (domain.id, domain.generation): domain.erased
        for domain in trust.root.domains
        if domain.erased is not None
    }
    order = sorted(snapshots)
    when = moments((snapshots[number].time, stats[number].modified) for number in order)
    return [
        AgedPoint(
            id=(snapshots[number].writer, number),
            set_name=snapshots[number].set_name,
            state=snapshots[number].state,
            moment=moment,
            stored=stats[number].modified,
            erased=erased.get((snapshots[number].domain, snapshots[number].generation)),
        )
        for number, moment in zip(order, when, strict=True)
    ]
