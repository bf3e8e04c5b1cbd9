"""The last clean point: the newest recovery point of a set in which no indicator is found.

Each point that is looked at is restored into the drills' folder, looked through, and destroyed.

Rules
- What bears an indicator usually stays once it is there, so the points are bisected: few restores
  for many points. The result holds for that: one point further back is looked at too, and when it
  bears an indicator, the finding comes and goes. That is said, and from there it goes back point by
  point until two in a row are clean.
- A point that cannot be restored, or a file of it that cannot be read, is never called clean.
- The indicators are our own simple kind; that a point has none of them does not show it to be good.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from backup.records import RecoveryPoint
from backup.repository import Repository
from standfast.errors import StandfastError
from standfast.evidence.indicator_search import Indicators, scan
from standfast.evidence.text_masking import mask_text
from standfast.records import JsonObject, timestamp
from standfast.usecases.backups.damage_cause import is_damage_behind
from standfast.usecases.core.backup_repository import (
    identity_of,
    opened_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.restore_drill import drill_folder

MOST_POINTS = 500  # the newest so many; older ones are not looked for
_MOST_FINDS = 20  # one is enough to judge; a few tell a person where


@dataclass(kw_only=True)
class CleanPoint:
    """What going back came to; `point` is None when no clean one was found."""

    point: RecoveryPoint | None = None
    is_monotone: bool = True  # as far as was looked
    looked_at: list[str] = field(default_factory=list)  # "host-1/0000000042: 3 finds"
    points: int = 0

    @property
    def reason(self) -> str:
        """Say it for a person."""
        looked = f"{len(self.looked_at)} of {self.points} points were looked at"
        if self.point is None:
            return f"no clean point was found; {looked}"
        how = (
            "if what was found stayed once it was there"
            if self.is_monotone
            else "though the finding comes and goes: look at the points after it, too"
        )
        return f"{self.point.name} of {timestamp(self.point.time)[:16]}Z is clean, {how}; {looked}"

    def as_json(self) -> JsonObject:
        """Give it for the receipt."""
        return {
            "point": self.point.name if self.point else None,
            "time": timestamp(self.point.time) if self.point else None,
            "monotone": self.is_monotone,
            "points": self.points,
            "looked_at": list(self.looked_at),
        }


def last_clean_point(
    installation: Installation, set_name: str, wanted: Indicators, token: str
) -> CleanPoint:
    """Go back through a set's points; UsageError without an identity that opens them.

    `token` names the folder that points are restored into, one after the other.
    """
    identity = identity_of(installation, None)
    with translated_errors("opening the repository"):
        repository = opened_repository(installation, identity)
        points = [point for point in repository.points(set_name) if not point.is_interim]
    newest_first = sorted(points, key=lambda point: point.time, reverse=True)[:MOST_POINTS]
    found = CleanPoint(points=len(newest_first))
    known: dict[int, bool] = {}

    def is_clean(position: int) -> bool:
        if position not in known:
            point = newest_first[position]
            known[position], told = _look(installation, repository, token, point, wanted)
            found.looked_at.append(f"{point.name}: {told}")
        return known[position]

    position = newest_clean(len(newest_first), is_clean, found)
    found.point = None if position is None else newest_first[position]
    return found


def newest_clean(count: int, is_clean: Callable[[int], bool], found: CleanPoint) -> int | None:
    """Give the position of the newest clean point, 0 being the newest; notes what it is worth."""
    if not count:
        return None
    low, high = 0, count  # every position below `low` was dirty; `high` is clean, or the end
    while low < high:
        middle = 0 if not low and high == count else (low + high) // 2  # the newest first
        if is_clean(middle):
            high = middle
        else:
            low = middle + 1
    position = high
    while position < count - 1 and not is_clean(position + 1):
        found.is_monotone = False
        position += 2
        while position < count and not is_clean(position):
            position += 1
    return position if position < count else None


def _look(
    installation: Installation,
    repository: Repository,
    token: str,
    point: RecoveryPoint,
    wanted: Indicators,
) -> tuple[bool, str]:
    with drill_folder(installation, point.set_name, f"look-{token}") as folder:
        try:
            with translated_errors(f"restoring {point.name}"):
                result = repository.restore(point, folder / "tree", (), now=installation.clock)
        except StandfastError as error:
            return False, f"could not be restored: {error}"
        if is_damage_behind(result.problems):
            return False, "is damaged"
        seen = scan(folder / "tree", wanted, most_finds=_MOST_FINDS)
    if seen.finds:
        many = "or more " if len(seen.finds) == _MOST_FINDS else ""
        return False, f"{len(seen.finds)} {many}finds, the first in {mask_text(seen.finds[0].path)}"
    if seen.unread:
        return False, f"{seen.unread} files could not be read"
    return True, f"clean, {seen.files} files"
