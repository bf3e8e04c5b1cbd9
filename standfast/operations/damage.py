"""Telling a damaged vault from a disk that could not take what was restored.

A restore names each file that it could not bring back. Whether the vault is at fault decides what a
person does next, so those files are read once more, to nowhere.
"""

from collections.abc import Sequence

from backup.errors import Damaged
from backup.reader import Repository
from backup.records import Point, Problem


def is_damage_behind(repository: Repository, point: Point, problems: Sequence[Problem]) -> bool:
    """Does the vault no longer hold what it was given, for any of these files?"""
    wanted = {problem.path for problem in problems}
    if not wanted:
        return False
    try:
        for entry in repository.entries(point):
            if entry.text in wanted and entry.kind == "file":
                for _ in repository.read_file(point, entry):
                    pass
    except Damaged:
        return True
    return False
