"""Cause of a failed restore: a damaged vault or a disk error.

The cause decides what a person must do. The recovery point that is chosen as `latest` may be wrong
for one of two reasons: a newer recovery point is damaged, or the clock of its host was ahead.
"""

from collections.abc import Sequence
from datetime import datetime

from backup.records import Problem, RecoveryPoint
from backup.repository import Repository
from standfast.continuity.clock_skew import is_to_come


def is_damage_behind(problems: Sequence[Problem]) -> bool:
    """Return whether damage in the vault caused any of these problems."""
    return any(problem.is_damage for problem in problems)


def damaged_points(repository: Repository) -> tuple[tuple[str, str], ...]:
    """Return name and problem of each damaged point that a listing found."""
    return tuple(
        (f"{writer}/{sequence:010d}", problem)
        for (writer, sequence), problem in sorted(repository.damaged.items())
    )


def damaged_after(repository: Repository, point: RecoveryPoint, asked: str) -> tuple[str, ...]:
    """Return the host's damaged points after `latest`; their set is unknown."""
    return tuple(
        f"{writer}/{sequence:010d}"
        for writer, sequence in sorted(repository.damaged)
        if _is_latest(asked) and writer == point.writer and sequence > point.sequence
    )


def is_dated_ahead(point: RecoveryPoint, asked: str, now: datetime) -> bool:
    """Return whether `latest` was chosen by a time in the future."""
    return _is_latest(asked) and is_to_come(point.time, now)


def _is_latest(asked: str) -> bool:
    return asked.endswith("latest")  # also "<writer>/latest"
