"""Telling a damaged vault from a disk that could not take what was restored.

A restore names each file that it could not bring back, and has seen why. Whether the vault is at
fault decides what a person does next.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backup.records import Point, Problem

if TYPE_CHECKING:
    from backup.reader import Repository


def is_damage_behind(problems: Sequence[Problem]) -> bool:
    """Does the vault no longer hold what it was given, for any of these files?"""
    return any(problem.is_damage for problem in problems)


def damaged_points(repository: "Repository") -> tuple[tuple[str, str], ...]:
    """Name what were points, perhaps, and is not what was written; after points were listed."""
    return tuple(
        (f"{writer}/{sequence:010d}", problem)
        for (writer, sequence), problem in sorted(repository.damaged.items())
    )


def damaged_after(repository: "Repository", point: Point, asked: str) -> tuple[str, ...]:
    """Name those that came after what was taken for the latest; of which set, nobody can tell."""
    return tuple(
        f"{writer}/{sequence:010d}"
        for writer, sequence in sorted(repository.damaged)
        if asked.endswith("latest") and writer == point.writer and sequence > point.sequence
    )
