"""Cause of an incomplete restore; reasons to doubt the `latest` point.

A restore is incomplete because the vault is damaged, or because a file could not be written. A
person acts differently in the two cases. The recovery point chosen as `latest` may be the wrong one
if a newer recovery point is damaged, or if the clock of the backup host was ahead.
"""

from collections.abc import Sequence
from datetime import datetime

from backup.records import Problem, RecoveryPoint
from backup.repository import Repository
from standfast.continuity.clock_skew import is_in_far_future


def is_damage_behind(problems: Sequence[Problem]) -> bool:
    """Return whether damage in the vault caused any of these problems."""
    return any(problem.is_damage for problem in problems)


def damaged_points(repository: Repository) -> tuple[tuple[str, str], ...]:
    """Return the name and the problem of each damaged recovery point."""
    return tuple(
        (f"{writer}/{sequence:010d}", problem)
        for (writer, sequence), problem in sorted(repository.damaged.items())
    )


def damaged_after(repository: Repository, point: RecoveryPoint, asked: str) -> tuple[str, ...]:
    """Return the damaged points of the host that are newer than `latest`.

    A damaged point may belong to any set of the host. `asked` is the requested point: return () if
    it is not `latest`.
    """
    return tuple(
        f"{writer}/{sequence:010d}"
        for writer, sequence in sorted(repository.damaged)
        if _is_latest(asked) and writer == point.writer and sequence > point.sequence
    )


def is_dated_ahead(point: RecoveryPoint, asked: str, now: datetime) -> bool:
    """Return whether the point chosen as `latest` has a time in the future."""
    return _is_latest(asked) and is_in_far_future(point.time, now)


def _is_latest(asked: str) -> bool:
    return asked.endswith("latest")  # also "<host>/latest"
