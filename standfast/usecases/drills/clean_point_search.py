"""Search for the newest recovery point without indicators, by restores.

An indicator is a trace of an intruder, such as the hash of a file. A clean point is a recovery
point without the given indicators. Each examined point is restored to a temporary folder and
scanned. Then the folder is deleted.

Rules
- The traces of an intruder usually stay in all later points. Therefore a binary search finds the
  newest clean point with few restores.
- To test this assumption, the search also scans the point before the result. If that point has an
  indicator, the assumption is wrong, and `is_monotone` of the result is False. The search then
  examines older points, one after another, until it finds two consecutive clean points.
- A point is not clean if it cannot be restored, or if one of its files cannot be read.
- Only the given indicators are searched. Thus a clean point may contain other traces.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from backup.records import RecoveryPoint
from backup.repository import Repository
from standfast.errors import StandfastError
from standfast.evidence.review.indicator_search import Indicators, scan
from standfast.evidence.text_masking import mask_text
from standfast.records import JsonObject, timestamp
from standfast.usecases.backups.restore_warnings import is_damage_behind
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.drill_folders import scan_folder

MOST_POINTS = 500  # the newest points; older points are not examined
_MOST_FINDS = 20  # most findings in one point; one finding already decides


@dataclass(kw_only=True)
class CleanPoint:
    """The result of a search; `point` is None if no clean point was found."""

    point: RecoveryPoint | None = None
    is_monotone: bool = True  # False if a point before a clean point had an indicator
    looked_at: list[str] = field(default_factory=list)  # examined: "host-1/0000000042: 3 finds"
    points: int = 0  # number of points of the backup set, at most MOST_POINTS

    @property
    def reason(self) -> str:
        """Return the result in words."""
        looked = f"{len(self.looked_at)} of {self.points} points were examined"
        if self.point is None:
            return f"no clean point was found; {looked}"
        how = (
            "provided that a finding never disappears in later points"
            if self.is_monotone
            else "but an earlier point has findings too: also examine the points after the clean "
            "one"
        )
        return f"{self.point.name} of {timestamp(self.point.time)[:16]}Z is clean, {how}; {looked}"

    def as_json(self) -> JsonObject:
        """Return the JSON form for the ledger, the installation's database."""
        return {
            "point": self.point.name if self.point else None,
            "time": timestamp(self.point.time) if self.point else None,
            "monotone": self.is_monotone,
            "points": self.points,
            "looked_at": list(self.looked_at),
        }


def last_clean_point(installation: Installation, set_name: str, wanted: Indicators) -> CleanPoint:
    """Search the recovery points of a set for the newest clean point.

    Raise UsageError if no identity (private key) can open the points.
    """
    identity = identity_of(installation, None)
    with translated_errors("opening the repository"):
        repository = open_repository(installation, identity)
        points = [point for point in repository.points(set_name) if not point.is_interim]
    newest_first = sorted(points, key=lambda point: point.time, reverse=True)[:MOST_POINTS]
    found = CleanPoint(points=len(newest_first))
    known: dict[int, bool] = {}

    def is_clean(position: int) -> bool:
        if position not in known:
            point = newest_first[position]
            known[position], result = _look(installation, repository, point, wanted)
            found.looked_at.append(f"{point.name}: {result}")
        return known[position]

    position = newest_clean(len(newest_first), is_clean, found)
    found.point = None if position is None else newest_first[position]
    return found


def newest_clean(count: int, is_clean: Callable[[int], bool], found: CleanPoint) -> int | None:
    """Return the index of the newest clean point (0 is the newest), or None.

    `is_clean` restores and scans the point at an index. Set `found.is_monotone` to False if a point
    before a clean point has an indicator.
    """
    if not count:
        return None
    # All points with an index below `low` have an indicator. The point at `high` is clean, unless
    # `high` is `count`.
    low, high = 0, count
    while low < high:
        # Try the newest point first.
        middle = 0 if not low and high == count else (low + high) // 2
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
    point: RecoveryPoint,
    wanted: Indicators,
) -> tuple[bool, str]:
    with scan_folder(installation, point.set_name, "look") as folder:
        try:
            with translated_errors(f"restoring {point.name}"):
                result = repository.restore(point, folder / "tree", (), now=installation.clock)
        except StandfastError as error:
            return False, f"cannot be restored: {error}"
        if is_damage_behind(result.problems):
            return False, "damaged"
        seen = scan(folder / "tree", wanted, most_finds=_MOST_FINDS)
    if seen.finds:
        many = "or more " if len(seen.finds) == _MOST_FINDS else ""
        return False, f"{len(seen.finds)} {many}finds, the first in {mask_text(seen.finds[0].path)}"
    if seen.unread:
        return False, f"{seen.unread} files cannot be read"
    return True, f"clean, {seen.files} files"
