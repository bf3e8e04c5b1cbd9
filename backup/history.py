"""A writer's history: its snapshots, read from the vault in order and checked against the roots.

- A slot that holds no valid snapshot of this writer is given with its problem, never skipped
  silently.
- What a problem means is for the caller: the writer goes past it, `History` is how `verify`
  judges it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backup.errors import BackupError, Damaged
from backup.findings import FROM_A_COPY, LOOK, Findings
from backup.format.layout import number_in, snapshot_name, snapshots_of
from backup.format.snapshot import Link, Snapshot, check_snapshot_signature, snapshot_from_bytes
from backup.records import Head
from backup.stores import Store
from backup.trust import Trust


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One snapshot object; exactly one of `snapshot` and `problem` is set."""

    name: str
    sequence: int
    sha256: str
    snapshot: Snapshot | None
    sealed: bytes  # the sealed part, empty without a snapshot
    problem: str | None


def read_slot(vault: Store, trust: Trust, writer: str, name: str) -> Slot:
    """Read one snapshot and check that it is what its name says."""
    sequence = number_in(name, snapshots_of(writer)) or 0
    try:
        data = vault.get(name)
    except Damaged as error:
        # What a store will not even read must not hide the snapshots beside it.
        return Slot(
            name=name,
            sequence=sequence,
            sha256="",
            snapshot=None,
            sealed=b"",
            problem=str(error),
        )
    try:
        snapshot, sealed = parse_snapshot(data, trust, writer, sequence, name)
        problem = None
    except BackupError as error:
        snapshot, sealed, problem = None, b"", str(error)
    return Slot(
        name=name,
        sequence=sequence,
        sha256=hashlib.sha256(data).hexdigest(),
        snapshot=snapshot,
        sealed=sealed,
        problem=problem,
    )


def read_history(vault: Store, trust: Trust, writer: str) -> Iterator[Slot]:
    """Give every slot of a writer, oldest first; objects of other names are no slots."""
    for stat in vault.list(snapshots_of(writer)):
        if number_in(stat.name, snapshots_of(writer)) is None:
            continue
        yield read_slot(vault, trust, writer, stat.name)


def parse_snapshot(
    data: bytes, trust: Trust, writer: str, sequence: int, name: str
) -> tuple[Snapshot, bytes]:
    """Decode a snapshot and check signature, place and trust; `Damaged` says which one failed."""
    snapshot, sealed = snapshot_from_bytes(data, name)
    if (snapshot.writer, snapshot.sequence) != (writer, sequence):
        raise Damaged(f"{name} holds snapshot {snapshot.sequence} of {snapshot.writer}")
    if snapshot.repository != trust.root.repository:
        raise Damaged(f"{name} is of another repository")
    grant = trust.root.writer(writer, snapshot.epoch)
    if grant is None:
        raise Damaged(f"{name} was written by {writer} in an epoch that no root record grants")
    check_snapshot_signature(data, grant.key, name)
    if snapshot.domain not in grant.domains:
        raise Damaged(f"{name} is for a domain that {writer} may not write for")
    if grant.trusted_through is not None and sequence > grant.trusted_through:
        raise Damaged(f"{name} is newer than the owner's trust in {writer}: it may be forged")
    if snapshot.root not in trust.links:
        raise Damaged(f"{name} stands on a root record that is not the one in this repository")
    return snapshot, sealed


class History:
    """A writer's slots, judged as a whole."""

    def __init__(self, writer: str, slots: Sequence[Slot]) -> None:
        self.writer = writer
        self._slots = {slot.sequence: slot for slot in slots}
        self.snapshots = {
            slot.sequence: slot.snapshot for slot in slots if slot.snapshot is not None
        }
        self.packs = {
            sha256: size for snapshot in self.snapshots.values() for sha256, size in snapshot.packs
        }

    def head(self) -> Head | None:
        """The newest valid snapshot."""
        if not self.snapshots:
            return None
        sequence = max(self.snapshots)
        return Head(writer=self.writer, sequence=sequence, sha256=self._slots[sequence].sha256)

    def packs_of(self, sequence: int) -> set[str]:
        """Every pack that a snapshot says it needs; `Damaged` when nobody brought one."""
        snapshot = self.snapshots[sequence]
        needed = {sha256 for sha256, _ in snapshot.packs}
        for number in snapshot.uses:
            earlier = self.snapshots.get(number)
            if earlier is None or number >= sequence:
                raise Damaged(f"it needs packs of snapshot {number}, which is not there")
            needed.update(snapshot.used_packs_of(earlier))
        return needed

    def check(self, found: Findings) -> None:
        """Find holes, replaced snapshots, forks, junk, and packs named from nowhere."""
        burnt = {number for snapshot in self.snapshots.values() for number in snapshot.burnt}
        for slot in self._slots.values():
            if slot.problem is None:
                continue
            if slot.sequence in burnt:
                found.warning(slot.name, "holds junk, which the writer passed over", LOOK)
            else:
                found.error(slot.name, slot.problem, FROM_A_COPY)
        before: Link | None = None
        for sequence, snapshot in self.snapshots.items():
            self._check_place(snapshot, before, found)
            before = Link(number=sequence, sha256=self._slots[sequence].sha256)
            try:
                self.packs_of(sequence)
            except Damaged as error:
                found.error(self._slots[sequence].name, str(error), FROM_A_COPY)

    def check_witness(self, witness: Sequence[Head], found: Findings) -> None:
        """Compare with heads that were kept elsewhere: this shows a rollback."""
        for head in witness:
            if head.writer != self.writer:
                continue
            name = snapshot_name(self.writer, head.sequence)
            slot = self._slots.get(head.sequence)
            if slot is None:
                found.error(
                    name,
                    "the witness has seen this snapshot, and the store has not: it was rolled back"
                    " or the snapshot was removed",
                    FROM_A_COPY,
                )
            elif slot.sha256 != head.sha256:
                found.error(name, "is not the snapshot that the witness has seen", FROM_A_COPY)

    def _check_place(self, snapshot: Snapshot, before: Link | None, found: Findings) -> None:
        name = self._slots[snapshot.sequence].name
        link = snapshot.previous
        if link != before:
            self._check_broken_link(name, link, found)
        passed = range(1 if link is None else link.number + 1, snapshot.sequence)
        for number in passed:
            if number not in snapshot.burnt and number not in self._slots:
                found.error(
                    snapshot_name(self.writer, number),
                    f"is missing: the sequence has a hole before snapshot {snapshot.sequence}",
                    FROM_A_COPY,
                )

    def _check_broken_link(self, name: str, link: Link | None, found: Findings) -> None:
        if link is None:
            found.error(name, "does not name the snapshot before it", LOOK)
            return
        named = snapshot_name(self.writer, link.number)
        slot = self._slots.get(link.number)
        if slot is None:
            found.error(named, "is missing although the one after it names it", FROM_A_COPY)
        elif slot.sha256 != link.sha256:
            found.error(named, "is not the one that the snapshot after it names", FROM_A_COPY)
        else:
            found.error(name, "passes over a snapshot before it: the history forks", LOOK)
