"""Snapshot history of a writer: gaps, forks, witness, needed packs.

- A writer is a backup host. A snapshot is the signed object that makes one of its backups
  restorable. It lists the packs (encrypted containers of content) that the backup needs.
- Snapshots have sequence numbers; a slot is the object under one number. Junk is an object that is
  not a valid snapshot. A writer skips the number of a slot that contains junk.
- Each snapshot contains the hash of the previous snapshot. The history forks if a snapshot names an
  older snapshot as the previous one.
- A witness is a record, on another machine, of the newest snapshot of each writer. With it,
  `check_witness` detects that the vault (the store of the backups) was rolled back.
- A compromised writer may fill its slots with junk. So this module remembers only the first ten
  thousand slots with junk, and counts the others.
"""

from bisect import bisect_left
from collections.abc import Container, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from backup.errors import Damaged
from backup.findings import (
    CHECK_HOST_CLOCK,
    CHECK_REVOKED,
    CHECK_REVOKED_BEFORE_NEXT_RUN,
    FIND_AUTHOR,
    FROM_A_COPY,
    MORE_OPENERS,
    TREAT_AS_COMPROMISED,
    Findings,
)
from backup.format.age_header import count_openers
from backup.format.object_names import snapshot_name, snapshot_prefix
from backup.format.record_link import Link
from backup.format.snapshot import Snapshot
from backup.records import Head
from backup.trust.snapshot_slots import Slot, find_older_junk

MOST_JUNK_SLOTS = 10_000
_MOST_HOLES = 100
# Clocks of hosts may be wrong by hours. A larger error would change how long a recovery point is
# kept.
_MOST_AHEAD = timedelta(days=1)


class SnapshotHistory:
    """All slots of a writer, compared with each other."""

    def __init__(self, writer: str, slots: Iterable[Slot], removed: datetime | None = None) -> None:
        """Collect the slots; `removed` is the time of the writer's removal."""
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
            elif len(self._junk) < MOST_JUNK_SLOTS:
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
        """Return number and hash of the newest valid snapshot, or None."""
        if not self.snapshots:
            return None
        sequence = max(self.snapshots)
        return Head(writer=self.writer, sequence=sequence, sha256=self._sha256[sequence])

    def needed_packs(self, sequence: int, lost: Container[int] = ()) -> set[str]:
        """Return the packs that a snapshot needs.

        A snapshot refers to packs of earlier snapshots. If an earlier snapshot is missing, the
        names of its packs are unknown. Then raise `Damaged`, unless the number of the missing
        snapshot is in `lost`; in this case, omit its packs.
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
        """Return the packs that a snapshot needs, as far as they are known.

        Unlike `needed_packs`, this method raises no error, because `check` reports unknown packs.
        """
        try:
            return self.needed_packs(
                sequence, self.snapshots[sequence].uses.keys() - self.snapshots
            )
        except Damaged:
            return {sha256 for sha256, _ in self.snapshots[sequence].packs}

    def lost(self) -> dict[int, int]:
        """Return lost snapshots, each with the number of snapshots that need it.

        A snapshot is lost if its slot contains junk, or if it is missing and a later snapshot needs
        its packs. A slot that the writer skipped is not lost. A snapshot that the owner does not
        trust is not lost either.
        """
        ignored = self.skipped() | self._distrusted
        lost = dict.fromkeys(self._junk.keys() - ignored, 0)
        for sequence, snapshot in self.snapshots.items():
            for number in snapshot.uses.keys() - self.snapshots.keys():
                if number < sequence and number not in ignored:
                    lost[number] = lost.get(number, 0) + 1
        return lost

    def skipped(self) -> set[int]:
        """Return the sequence numbers that the writer skipped.

        Old junk that no snapshot lists as skipped is included; see `find_older_junk`.
        """
        skipped = {number for snapshot in self.snapshots.values() for number in snapshot.skipped}
        newest = max(self.snapshots, default=0)
        junk = {number: self._stored[number] for number in self._junk}
        return skipped | find_older_junk(junk, newest, self._stored.get(newest))

    def check(self, findings: Findings) -> None:
        """Report gaps, replaced snapshots, forks, junk and unknown packs."""
        skipped = self.skipped()
        for sequence, problem in self._junk.items():
            name = snapshot_name(self.writer, sequence)
            is_distrusted = sequence in self._distrusted
            if sequence in skipped and is_distrusted:
                problem = (
                    "is newer than the last snapshot that the owner trusts; its writer skipped it"
                )
                findings.warning(name, problem, CHECK_REVOKED)
            elif is_distrusted and self._is_of_removed_writer(sequence):
                problem = (
                    "is newer than the last snapshot that the owner trusts; its writer was removed"
                )
                findings.warning(name, problem, CHECK_REVOKED)
            elif sequence in skipped:
                findings.warning(name, "is not a snapshot; the writer skipped it", FIND_AUTHOR)
            else:
                what_to_do = CHECK_REVOKED_BEFORE_NEXT_RUN if is_distrusted else FROM_A_COPY
                findings.error(name, problem, what_to_do, kind=f"no snapshot: {what_to_do}")
        if self._more_junk:
            findings.error(
                snapshot_prefix(self.writer),
                f"{self._more_junk:,} more objects are not snapshots, and were not checked",
                "find out who wrote them, and revoke this identity's right to write",
            )
        lost = self.lost()
        previous: Link | None = None
        for sequence, snapshot in self.snapshots.items():
            self._check_place(snapshot, previous, findings)
            self._check_time(snapshot, previous, findings)
            previous = Link(number=sequence, sha256=self._sha256[sequence])
            if sequence in self._more_openers:
                name = snapshot_name(self.writer, sequence)
                findings.warning(name, MORE_OPENERS, TREAT_AS_COMPROMISED)
            try:
                self.needed_packs(sequence, lost)
            except Damaged as error:
                findings.error(snapshot_name(self.writer, sequence), str(error), FROM_A_COPY)
        for sequence, needed_by in lost.items():
            if needed_by:
                name = snapshot_name(self.writer, sequence)
                problem = (
                    f"this snapshot is lost; it listed packs that {needed_by:,} later points need, "
                    "and the names of these packs are unknown"
                )
                findings.note(
                    name,
                    problem,
                    "verify with an identity: this checks all packs that these points need",
                )

    def _is_of_removed_writer(self, sequence: int) -> bool:
        """Return whether the owner removed the writer after a slot was stored.

        A removed writer makes no further snapshot, so no snapshot can skip the slot.
        """
        stored = self._stored[sequence]
        return self._removed is not None and stored is not None and stored <= self._removed

    def check_witness(self, witness: Sequence[Head], findings: Findings) -> None:
        """Compare the slots with a witness; report rollbacks.

        A witness is a record, on another machine, of the newest snapshot of each writer.
        """
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
        """Check the link to the previous snapshot and the numbers in between."""
        name = snapshot_name(self.writer, snapshot.sequence)
        link = snapshot.previous
        if link != previous:
            self._check_broken_link(name, link, findings)
        numbers = range(1 if link is None else link.number + 1, snapshot.sequence)
        # A compromised writer may sign any number. So the range of numbers may be huge, and is not
        # enumerated. Existing numbers are counted by bisection; the rest of the range is missing.
        existing = bisect_left(self._numbers, numbers.stop) - bisect_left(
            self._numbers, numbers.start
        )
        declared = {number for number in snapshot.skipped if number not in self._sha256}
        missing = len(numbers) - existing - sum(number in numbers for number in declared)
        gaps = (
            number for number in numbers if number not in self._sha256 and number not in declared
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
        """Check the time in the snapshot, because expiry of backups depends on it."""
        name = snapshot_name(self.writer, snapshot.sequence)
        stored = self._stored[snapshot.sequence]
        if stored is not None and snapshot.time - stored > _MOST_AHEAD:
            findings.warning(
                name,
                f"is dated {snapshot.time:%Y-%m-%d}, but the store's clock showed"
                f" {stored:%Y-%m-%d}",
                CHECK_HOST_CLOCK,
            )
        if (
            previous is not None
            and self.snapshots[previous.number].time - snapshot.time > _MOST_AHEAD
        ):
            findings.warning(
                name,
                "is dated before the point that it follows: its writer's clock went back",
                CHECK_HOST_CLOCK,
            )

    def _check_broken_link(self, name: str, link: Link | None, findings: Findings) -> None:
        if link is None:
            findings.error(name, "does not name the snapshot before it", FIND_AUTHOR)
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
            findings.error(name, "skips a snapshot before it: the history forks", FIND_AUTHOR)
