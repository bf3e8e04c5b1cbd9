"""What a recovery point lacks of what is asked for, since the backup could not read it whole.

A restore brings back what the point has. That the point itself was partial is known to who made it,
and long forgotten when it is needed: so whoever restores is told again.

Rules
- What was read in the midst of a change counts: the point holds neither the old nor the new of it.
- Of more than the point names (10,000) nobody knows which they are, so they count in any case; and
  of an interim point nobody knows what came later.
"""

from collections.abc import Sequence

from backup.format.canonical import from_path_text
from backup.lazy_dataclass import dataclass
from backup.reading.selection import Selection
from backup.records import Point, Unread
from standfast.records import Json


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """What is not in the point, or not whole."""

    named: tuple[Unread, ...]
    total: int
    is_interim: bool  # the point was made in the middle of a run: what came later is not in it

    @property
    def is_any(self) -> bool:
        """Is there anything?"""
        return self.total > 0 or self.is_interim

    def as_json(self) -> dict[str, Json]:
        return {
            "is_interim": self.is_interim,
            "total": self.total,
            "paths": [{"path": item.path, "reason": item.reason} for item in self.named],
        }


def lacking(point: Point, patterns: Sequence[str] = ()) -> Lacking:
    """Say what the point lacks of what the patterns select; without any, of everything."""
    details = point.details
    unread = () if details is None else details.unread
    total = 0 if details is None else details.unread_total
    selection = Selection(patterns)
    named = tuple(item for item in unread if selection.takes(_path(item)))
    return Lacking(
        named=named,
        total=len(named) + total - len(unread),
        is_interim=point.is_interim,
    )


def _path(item: Unread) -> bytes:
    return from_path_text(item.path, "what a point lacks")
