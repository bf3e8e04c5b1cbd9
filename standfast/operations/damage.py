"""Telling a damaged vault from a disk that could not take what was restored.

A restore names each file that it could not bring back, and has seen why. Whether the vault is at
fault decides what a person does next.
"""

from collections.abc import Sequence

from backup.records import Problem


def is_damage_behind(problems: Sequence[Problem]) -> bool:
    """Does the vault no longer hold what it was given, for any of these files?"""
    return any(problem.is_damage for problem in problems)
