"""Snapshot history of a writer, judged as a whole for `verify`.

A compromised writer may fill its slots with junk: the first ten thousand such slots are stored, and
further slots are only counted.
"""

from bisect import bisect_left
from collections.abc import Container, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from backup.errors import Damaged
from backup.findings import (
    FROM_A_COPY,
    LOOK,
    LOOK_AT_THE_HOST,
    MORE_OPENERS,
    NO_LONGER_TRUSTED,
    PASSED_OVER,
    Findings,
)
from backup.format.age_header import count_openers
from backup.format.object_names import snapshot_name, snapshot_prefix
from backup.format.record_link import Link
from backup.format.snapshot import Snapshot
from backup.records import Head
from backup.trust.snapshot_slots import Slot, superseded_snapshots

_MOST_JUNK = 10_000
_MOST_HOLES = 100
# Clocks of hosts are wrong by hours; a larger difference would change how long points are kept.
_MOST_AHEAD = timedelta(days=1)


class SnapshotHistory:
    """The slots of a writer, judged as a whole."""

    def __init__(self, writer: str, slots: Iterable[Slot], removed: datetime | None = None) -> None:
        """Collect the slots; `removed` is when the owner ended all trust."""
        self.writer = writer
        self._removed = removed
        self.snapshots: dict[int, Snapshot] = {}
        self._sha256: dict[int, str] = {}
        self._stored: dict[int, datetime | None] = {}
        self._junk: dict[int, str] = {}
        self._more_junk = 0
        self._distrusted: set[int] = set()
        self._more_openers: set[int] = set()
        for slot in slots:
            if slot.snapshot is not None:
                if count_openers(slot.sealed) > 1:
                    self._more_openers.add(slot.sequence)
                self.snapshots[slot.sequence] = slot.snapshot
            elif len(self._junk) < _MOST_JUNK:
                self._junk[slot.sequence] = slot.problem or ""
                if slot.is_distrusted:
                    self._distrusted.add(slot.sequence)
            else:
                self._more_junk += 1
                continue
            self._sha256[slot.sequence] = slot.sha256
            self._stored[slot.sequence] = slot.stored
        self._numbers = sorted(self._sha256)
        self.packs = {
            sha256: size for snapshot in self.snapshots.values() for sha256, size in snapshot.packs
        }

    def head(self) -> Head | None:
        """Return the newest valid snapshot."""
        if not self.snapshots:
            return None
        sequence = max(self.snapshots)
        return Head(writer=self.writer, sequence=sequence, sha256=self._sha256[sequence])

    def needed_packs(self, sequence: int, lost: Container[int] = ()) -> set[str]:
        """Return every pack that a snapshot needs; `Damaged` if one is unknown.

        Packs that were first named by a `lost` snapshot are unknown, and omitted.
        """
        snapshot = self.snapshots[sequence]
        needed = {sha256 for sha256, _ in snapshot.packs}
        for number in snapshot.uses:
            if number in lost:
                continue
            previous = self.snapshots.get(number)
            if previous is None or number >= sequence:
                raise Damaged(f"it needs packs of snapshot {number}, which is missing")
            needed.update(snapshot.used_packs(previous))
        return needed

    def known_packs(self, sequence: int) -> set[str]:
        """Return every pack that a snapshot is known to need.

        Problems in its list are findings of their own.
        """
        try:
            return self.needed_packs(
                sequence, self.snapshots[sequence].uses.keys() - self.snapshots
            )
        except Damaged:
            return {sha256 for sha256, _ in self.snapshots[sequence].packs}

    def lost(self) -> dict[int, int]:
        """Return the lost snapshots, with the number of later ones that need them.

        Slots that the writer skipped, or that the owner does not trust, never counted.
        """
        ignored = self.skipped() | self._distrusted
        lost = dict.fromkeys(self._junk.keys() - ignored, 0)
        for sequence, snapshot in self.snapshots.items():
            for number in snapshot.uses.keys() - self.snapshots.keys():
                if number < sequence and number not in ignored:
                    lost[number] = lost.get(number, 0) + 1
        return lost

    def skipped(self) -> set[int]:
        """Return the slots without a snapshot that a later writer run skipped."""
        burnt = {number for snapshot in self.snapshots.values() for number in snapshot.burnt}
        newest = max(self.snapshots, default=0)
        junk = {number: self._stored[number] for number in self._junk}
        return burnt | superseded_snapshots(junk, newest, self._stored.get(newest))

    def check(self, findings: Findings) -> None:
        """Report gaps, replaced snapshots, forks, junk, and unknown packs."""
        skipped = self.skipped()
        for sequence, problem in self._junk.items():
            name = snapshot_name(self.writer, sequence)
            is_distrusted = sequence in self._distrusted
            if sequence in skipped and is_distrusted:
                problem = (
                    "is newer than the last snapshot that the owner trusts; its writer skipped it"
                )
                findings.warning(name, problem, PASSED_OVER)
            elif is_distrusted and self._is_of_removed_writer(sequence):
                problem = (
                    "is newer than the last snapshot that the owner trusts; its writer was removed"
                )
                findings.warning(name, problem, PASSED_OVER)
            elif sequence in skipped:
                findings.warning(name, "is not a snapshot; the writer skipped it", LOOK)
            else:
                what_to_do = NO_LONGER_TRUSTED if is_distrusted else FROM_A_COPY
                findings.error(name, problem, what_to_do, kind=f"no snapshot: {what_to_do}")
        if self._more_junk:
            findings.error(
                snapshot_prefix(self.writer),
                f"{self._more_junk:,} more objects are not snapshots, and were not checked",
                "find out who wrote them, and revoke that right",
            )
        lost = self.lost()
        previous: Link | None = None
        for sequence, snapshot in self.snapshots.items():
            self._check_place(snapshot, previous, findings)
            self._check_time(snapshot, previous, findings)
            previous = Link(number=sequence, sha256=self._sha256[sequence])
            if sequence in self._more_openers:
                name = snapshot_name(self.writer, sequence)
                findings.warning(name, MORE_OPENERS, LOOK_AT_THE_HOST)
            try:
                self.needed_packs(sequence, lost)
            except Damaged as error:
                findings.error(snapshot_name(self.writer, sequence), str(error), FROM_A_COPY)
        for sequence, needed_by in lost.items():
            if needed_by:
                name = snapshot_name(self.writer, sequence)
                problem = (
                    f"this lost snapshot listed packs that later points ({needed_by:,}) need; "
                    "these packs are unknown"
                )
                findings.note(
                    name,
                    problem,
                    "verify with an identity: this reads all packs that these points use",
                )

    def _is_of_removed_writer(self, sequence: int) -> bool:
        """Return whether the slot existed when its writer was removed.

        A removed writer will never skip the slot.
        """
        stored = self._stored[sequence]
        return self._removed is not None and stored is not None and stored <= self._removed

    def check_witness(self, witness: Sequence[Head], findings: Findings) -> None:
        """Compare with heads stored elsewhere, which reveals a rollback."""
        for head in witness:
            if head.writer != self.writer:
                continue
            name = snapshot_name(self.writer, head.sequence)
            sha256 = self._sha256.get(head.sequence)
            if sha256 is None:
                findings.error(
                    name,
                    "the witness has seen this snapshot, but the store does not have it: it was"
                    " rolled back or the snapshot was removed",
                    FROM_A_COPY,
                )
            elif sha256 != head.sha256:
                findings.error(name, "is not the snapshot that the witness has seen", FROM_A_COPY)

    def _check_place(self, snapshot: Snapshot, previous: Link | None, findings: Findings) -> None:
        name = snapshot_name(self.writer, snapshot.sequence)
        link = snapshot.previous
        if link != previous:
            self._check_broken_link(name, link, findings)
        skipped_numbers = range(1 if link is None else link.number + 1, snapshot.sequence)
        # A forger may sign any number, or very many: missing numbers are counted, not enumerated,
        # and existing ones are counted by their position.
        existing = bisect_left(self._numbers, skipped_numbers.stop) - bisect_left(
            self._numbers, skipped_numbers.start
        )
        burnt = {number for number in snapshot.burnt if number not in self._sha256}
        missing = (
            len(skipped_numbers) - existing - sum(number in skipped_numbers for number in burnt)
        )
        gaps = (
            number
            for number in skipped_numbers
            if number not in self._sha256 and number not in burnt
        )
        for number in islice(gaps, min(missing, _MOST_HOLES)):
            findings.error(
                snapshot_name(self.writer, number),
                f"is missing: the sequence has a gap before snapshot {snapshot.sequence}",
                FROM_A_COPY,
                kind="hole",
            )
        if missing > _MOST_HOLES:
            findings.error(
                snapshot_prefix(self.writer),
                f"{missing - _MOST_HOLES:,} more are missing before snapshot {snapshot.sequence}",
                FROM_A_COPY,
            )

    def _check_time(self, snapshot: Snapshot, previous: Link | None, findings: Findings) -> None:
        """Check the writer's time, which decides the newest point and retention."""
        name = snapshot_name(self.writer, snapshot.sequence)
        stored = self._stored[snapshot.sequence]
        if stored is not None and snapshot.time - stored > _MOST_AHEAD:
            findings.warning(
                name,
                f"is dated {snapshot.time:%Y-%m-%d}, but the store's clock showed"
                f" {stored:%Y-%m-%d}",
                LOOK_AT_THE_HOST,
            )
        if (
            previous is not None
            and self.snapshots[previous.number].time - snapshot.time > _MOST_AHEAD
        ):
            findings.warning(
                name,
                "is dated before the point that it follows: its writer's clock went back",
                LOOK_AT_THE_HOST,
            )

    def _check_broken_link(self, name: str, link: Link | None, findings: Findings) -> None:
        if link is None:
            findings.error(name, "does not name the snapshot before it", LOOK)
            return
        named = snapshot_name(self.writer, link.number)
        sha256 = self._sha256.get(link.number)
        if sha256 is None:
            findings.error(named, "is missing although the next one names it", FROM_A_COPY)
        elif sha256 != link.sha256:
            findings.error(
                named, "differs from the snapshot that the next snapshot names", FROM_A_COPY
            )
        else:
            findings.error(name, "skips a snapshot before it: the history forks", LOOK)
