"""Warnings of a restore: data not backed up, damage, doubtful `latest`.

A restore returns what the recovery point (the state that one backup stored) contains. The person
who restores perhaps does not know that the backup was partial, so every restore reports missing
data again.

A restore can be incomplete because the vault (the folder or bucket with the backups) is damaged, or
because a file could not be written. The cause is stated, because each cause needs another action of
a person. If a newer recovery point is damaged, or if the clock of the backup host was ahead,
`latest` may select the wrong recovery point.

Rules
- A recovery point without any file is reported as incomplete: perhaps its disk was not mounted.
- A file that changed while it was read counts as missing: the point contains neither its old nor
  its new version.
- A recovery point names at most 10,000 missing paths. Further missing paths are only counted. If a
  person restores selected paths, these further paths are included in the count, because each of
  them may be one of the selected paths.
- An interim recovery point, which a long backup commits before its end, lacks the files that were
  not yet read. Their paths are unknown, so every restore of it is reported as incomplete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backup.format.canonical_json import from_path_text
from backup.reader.path_selection import Selection
from backup.records import Problem, RecoveryPoint, Unread
from backup.repository import Repository
from standfast.continuity.clock_skew import is_in_far_future
from standfast.records import Json


@dataclass(frozen=True, kw_only=True)
class IncompletePoint:
    """The data that a point lacks or contains only partly."""

    named: tuple[Unread, ...]
    total: int
    is_interim: bool
    is_empty: bool = False  # the point contains no file
    emptied: tuple[str, ...] = ()  # sources without any file at the time of the backup

    @property
    def is_any(self) -> bool:
        """True if data is missing; `emptied` alone does not make it true."""
        return self.total > 0 or self.is_interim or self.is_empty

    def as_json(self) -> dict[str, Json]:
        return {
            "is_interim": self.is_interim,
            "is_empty": self.is_empty,
            "emptied": list(self.emptied),
            "total": self.total,
            "paths": [{"path": item.path, "reason": item.reason} for item in self.named],
        }


def lacking(point: RecoveryPoint, patterns: Sequence[str] = ()) -> IncompletePoint:
    """Return the missing data that matches the patterns.

    Without patterns, return all missing data.
    """
    details = point.details
    unread = () if details is None else details.unread
    total = 0 if details is None else details.unread_total
    selection = Selection(patterns)
    named = tuple(item for item in unread if selection.includes(_path(item)))
    return IncompletePoint(
        named=named,
        total=len(named) + total - len(unread),
        is_interim=point.is_interim,
        is_empty=details is not None and not details.files,
        emptied=tuple(
            source.name
            for source in (() if details is None else details.sources)
            if not source.files
            and source.problem is None
            and selection.includes(source.name.encode())
        ),
    )


def _path(item: Unread) -> bytes:
    return from_path_text(item.path, "an unread path of a point")


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
    """Return the damaged points of the host that are newer than `point`.

    A damaged point may belong to any backup set of the host. `asked` is the requested point: return
    () if it is not `latest`.
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
