"""What a recovery point lacks of what is asked for, since the backup could not read it whole.

A restore brings back what the point has. That the point itself was partial is known to who made it,
and long forgotten when it is needed: so whoever restores is told again.

Rules
- A point without a file lacks everything: so a backup looks whose disk was not mounted.
- What was read in the midst of a change counts: the point holds neither the old nor the new of it.
- Of more than the point names (10,000) nobody knows which they are, so they count in any case; and
  of an interim point nobody knows what came later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backup.format.canonical_json import from_path_text
from backup.reader.path_selection import Selection
from backup.records import RecoveryPoint, Unread
from standfast.records import Json


@dataclass(frozen=True, kw_only=True)
class IncompletePoint:
    """What is not in the point, or not whole."""

    named: tuple[Unread, ...]
    total: int
    is_interim: bool  # the point was made in the middle of a run: what came later is not in it
    is_empty: bool = False  # the point holds no file at all
    emptied: tuple[str, ...] = ()  # sources that held no file when the point was made

    @property
    def is_any(self) -> bool:
        """Is there anything? A source without a file may be meant so, all of them are not."""
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
    """Say what the point lacks of what the patterns select; without any, of everything."""
    details = point.details
    unread = () if details is None else details.unread
    total = 0 if details is None else details.unread_total
    selection = Selection(patterns)
    named = tuple(item for item in unread if selection.takes(_path(item)))
    return IncompletePoint(
        named=named,
        total=len(named) + total - len(unread),
        is_interim=point.is_interim,
        is_empty=details is not None and not details.files,
        emptied=tuple(
            one.name
            for one in (() if details is None else details.sources)
            if not one.files and one.problem is None and selection.takes(one.name.encode())
        ),
    )


def _path(item: Unread) -> bytes:
    return from_path_text(item.path, "what a point lacks")
