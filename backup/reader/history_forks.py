"""Forks of a writer's history, which make "latest" ambiguous.

- A writer is a backup host. Each of its snapshots contains the hash of the previous valid snapshot.
  If the vault has another snapshot in that place, the history forks. Then one of the two snapshots
  may be forged with the writer's key, or be left from a history that was replaced.
- A fork is ignored after the earlier of the two recovery points has expired.
"""

from collections.abc import Mapping, Sequence

from backup.errors import Damaged
from backup.records import RecoveryPoint
from backup.trust.snapshot_slots import Slot

# Key: writer and sequence number of the earlier of two recovery points where the history forks.
# Value: sequence number of the later point.
Forks = Mapping[tuple[str, int], int]


def is_fork(slot: Slot, before: Slot) -> bool:
    """Return whether a snapshot does not follow the valid snapshot before it."""
    if slot.snapshot is None or slot.snapshot.previous is None:
        return True
    link = slot.snapshot.previous
    return link.number <= before.sequence and link.sha256 != before.sha256


def require_unforked_history(
    latest: RecoveryPoint, points: Sequence[RecoveryPoint], forks: Forks
) -> None:
    """Raise `Damaged` if the history of the writer of `latest` forks.

    `latest` is the newest of `points`. The error names a recovery point of each branch.
    """
    for (writer, left_out), by in forks.items():
        if writer != latest.writer:
            continue
        before = [
            point.sequence for point in points if point.writer == writer and point.sequence < by
        ]
        names = {f"{writer}/{max(before):010d}" if before else "", latest.name} - {""}
        raise Damaged(
            f"latest of {writer}: its history forks, since {writer}/{by:010d} does not follow"
            f" {writer}/{left_out:010d}, and one of them may be forged. Verify the vault, then"
            f" name a point: {' or '.join(sorted(names))}."
        )
