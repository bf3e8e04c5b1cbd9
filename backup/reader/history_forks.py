"""Forks of a writer's history, where "latest" is ambiguous.

- A writer signs the hash of the snapshot before with each one, and goes on behind what it finds. So
  a snapshot that does not follow the one before it is of another who had the key, or of a history
  that was replaced; or the one before it is.
- A fork whose passed-over point has expired is history.
"""

from collections.abc import Mapping, Sequence

from backup.errors import Damaged
from backup.records import RecoveryPoint
from backup.trust.snapshot_slots import Slot

Forks = Mapping[
    tuple[str, int], int
]  # writer and sequence of a point: which later one leaves it out


def leaves_out(slot: Slot, before: Slot) -> bool:
    """Return whether a snapshot does not follow the valid one before it."""
    if slot.snapshot is None or slot.snapshot.previous is None:
        return True
    link = slot.snapshot.previous
    return link.number <= before.sequence and link.sha256 != before.sha256


def require_unforked_history(
    latest: RecoveryPoint, points: Sequence[RecoveryPoint], forks: Forks
) -> None:
    """Raise `Damaged` if the writer's history forks, with each branch's point.

    `points` are those among which `latest` was chosen.
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
            f" {writer}/{left_out:010d}, and one of them may be forged. Verify the repository, then"
            f" name a point: {' or '.join(sorted(names))}."
        )
