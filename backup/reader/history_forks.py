"""Forks of a writer's history, where "latest" is ambiguous.

- With each snapshot, a writer signs the hash of the previous one that it found. So if a snapshot
  does not follow the snapshot before it, one of these two snapshots is from somebody else who had
  the key, or from a history that was replaced.
- A fork is ignored once the recovery point that was not followed has expired.
"""

from collections.abc import Mapping, Sequence

from backup.errors import Damaged
from backup.records import RecoveryPoint
from backup.trust.snapshot_slots import Slot

# From the writer and sequence of a point that was not followed to the sequence of the next point.
Forks = Mapping[tuple[str, int], int]


def leaves_out(slot: Slot, before: Slot) -> bool:
    """Return whether a snapshot does not follow the valid one before it."""
    if slot.snapshot is None or slot.snapshot.previous is None:
        return True
    link = slot.snapshot.previous
    return link.number <= before.sequence and link.sha256 != before.sha256


def require_unforked_history(
    latest: RecoveryPoint, points: Sequence[RecoveryPoint], forks: Forks
) -> None:
    """Raise `Damaged` if the writer's history forks; name a point per branch.

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
            f" {writer}/{left_out:010d}, and one of them may be forged. Verify the vault, then"
            f" name a point: {' or '.join(sorted(names))}."
        )
