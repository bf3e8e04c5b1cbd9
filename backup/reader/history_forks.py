"""Forks of a writer's history, because of which "latest" is ambiguous.

- Each snapshot contains the signed hash of the previous snapshot that the writer found. If a
  snapshot has another hash than that of the snapshot before it, the history forks. Then one of the
  two is from somebody else who has the key, or from a history that was replaced.
- A fork is ignored once the earlier of the two recovery points has expired.
"""

from collections.abc import Mapping, Sequence

from backup.errors import Damaged
from backup.records import RecoveryPoint
from backup.trust.snapshot_slots import Slot

# Key: writer and sequence number of a point that the next point does not follow. Value: sequence
# number of the next point.
Forks = Mapping[tuple[str, int], int]


def leaves_out(slot: Slot, before: Slot) -> bool:
    """Return whether a snapshot does not follow the valid snapshot before it."""
    if slot.snapshot is None or slot.snapshot.previous is None:
        return True
    link = slot.snapshot.previous
    return link.number <= before.sequence and link.sha256 != before.sha256


def require_unforked_history(
    latest: RecoveryPoint, points: Sequence[RecoveryPoint], forks: Forks
) -> None:
    """Raise `Damaged` if the writer's history forks; name a point per branch.

    `points` are the recovery points among which `latest` is the newest.
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
