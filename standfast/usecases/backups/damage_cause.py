"""Telling a damaged vault from a disk that could not take what was restored.

A restore names each file that it could not bring back, and has seen why. Whether the vault is at
fault decides what a person does next. So does what makes the latest doubtful: a damaged one after
it, or a clock that stood ahead.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from backup.records import Problem, RecoveryPoint
from standfast.continuity.clock_skew import is_to_come

if TYPE_CHECKING:
    from backup.repository import Repository


def is_damage_behind(problems: Sequence[Problem]) -> bool:
    """Does the vault no longer hold what it was given, for any of these files?"""
    return any(problem.is_damage for problem in problems)


def damaged_points(repository: "Repository") -> tuple[tuple[str, str], ...]:
    """Name what were points, perhaps, and is not what was written; after points were listed."""
    return tuple(
        (f"{writer}/{sequence:010d}", problem)
        for (writer, sequence), problem in sorted(repository.damaged.items())
    )


def damaged_after(repository: "Repository", point: RecoveryPoint, asked: str) -> tuple[str, ...]:
    """Name those that came after what was taken for the latest; of which set, nobody can tell."""
    return tuple(
        f"{writer}/{sequence:010d}"
        for writer, sequence in sorted(repository.damaged)
        if _is_latest(asked) and writer == point.writer and sequence > point.sequence
    )


def is_dated_ahead(point: RecoveryPoint, asked: str, now: datetime) -> bool:
    """Is it taken for the latest by a time that is still to come?"""
    return _is_latest(asked) and is_to_come(point.time, now)


def _is_latest(asked: str) -> bool:
    return asked.endswith("latest")  # of a host that is named, too
