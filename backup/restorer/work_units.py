"""Units of work of a restore, planned to decode each frame about once.

- A frame is a compressed and encrypted part of a pack. Small files share frames of about 1 MiB, and
  the files of one frame may be in several folders. If files were restored in path order, such a
  frame would be decoded several times.
- A unit of work is a series of files that one worker restores. The home of a frame is the first
  unit, in path order, that needs the frame. If a later file needs the frame, the home unit writes
  this file before its turn in path order, as an early file. A file is not early if its frame is
  still in the memory of the worker's reader at the turn of the file.
- The leaf pages of the manifest list the paths. The plan reads each leaf page before any file is
  written, and the workers read most of them again. The plan keeps one number for each frame in
  memory. The entries of early files are in memory or, if they are many, on disk.
- If the plan cannot read a leaf, or the leaf is invalid, the files of this leaf are restored in
  path order. The worker that reads the leaf reports the problem.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from backup.errors import BackupError, Damaged
from backup.format.canonical_json import from_path_text
from backup.format.manifest import Entry, entry_from_item
from backup.format.snapshot import Body
from backup.reader.blob_reader import Raw
from backup.reader.manifest_walk import Page
from backup.reader.path_selection import Selection
from backup.records import Problem
from backup.restorer.spool import Spool


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A part of a leaf page of the manifest: consecutive entries."""

    page: Page
    part: int  # number of this part, from 0
    parts: int  # parts of the leaf
    early: "array[int]"  # indexes, in the leaf, of files that earlier units of work write
    content: bytes | None  # content of the leaf, if it is in memory already

    def bounds(self, entries: int) -> tuple[int, int]:
        """Return the indexes in the leaf at which the stretch begins and ends."""
        return entries * self.part // self.parts, entries * (self.part + 1) // self.parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Unit of work: stretches that one worker restores in order."""

    stretches: Sequence[Stretch]
    early: Sequence[Entry]  # files of later stretches with content that this unit decodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Result of a worker since its last report."""

    path: str  # the newest restored path, for the display of progress
    files: int
    directories: int
    size_bytes: int  # total size of the files
    owners_lost: int  # paths that now belong to the restoring user instead of their owner
    bytes_done: int  # content written or found in place, also of files that are not complete
    problems: list[Problem]
    made: list[Entry]  # created folders with attributes that are set at the end
    noted: list[
        Entry
    ]  # folders that the request does not select; if they exist, their attributes are set
    links: list[tuple[bytes, bytes]]  # path of the link, path of the first name
    postponed: list[Entry]  # files that were created empty and are filled in pieces later
    lost: dict[str, Problem]  # postponed files that cannot be filled, by printed path
    matched: list[str]  # patterns of the request that selected a path
    healed: list[str]  # sentences about packs whose blobs were read from other packs
    damaged: list[str]  # names of damaged packs


def lost_page(page: Page, error: BackupError) -> Problem:
    """Return the problem of an unreadable page: every path in it is missing."""
    reason = f"not restored: the manifest page that lists it is unreadable: {error}"
    return Problem(path=page.extent, reason=reason, is_missing=True, is_damage=True)


def damaged(entry: Entry, reason: str) -> Problem:
    """Return the problem of a file with damaged content."""
    return Problem(
        path=entry.text, reason=f"not restored: {reason}", is_missing=True, is_damage=True
    )


STRETCH_BYTES = 32 * 1024 * 1024
_MOST_PARTS = 32
FEW_ENTRIES = 256  # entries of each part of the leaf, if the recovery point has a single leaf
_UNIT_BYTES = 8 * 1024 * 1024  # much more than a frame, so that few frames are needed by two units
UNIT_ENTRIES = 8192
_FEWEST_UNITS = 8  # for a large recovery point, so that all workers end at about the same time
_KEPT_BYTES = 6 * 1024 * 1024  # less than a reader keeps in memory
_SHARED_FRAME_BYTES = 1024 * 1024
_MOST_FRAMES = 256 * 1024  # number of frames with a stored home; they need about 40 MB
_MOST_EARLY_FILES = 4096  # in one unit, because the whole unit is in memory
_KEPT_PAGE_BYTES = 1024 * 1024  # total size of the first leaves, which workers do not read again
_OFFSET_BITS = 24  # size of a frame's offset in its pack


@dataclass(slots=True, eq=False)
class _PlannedUnit:
    """A unit that is being planned."""

    stretches: list[Stretch] = field(default_factory=list)
    early: "array[int]" = field(default_factory=lambda: array("Q"))  # positions in the spool
    entries: int = 0


class FramePlan:
    """Units of work for the leaves of a restore, added in path order."""

    def __init__(self, body: Body, selection: Selection) -> None:
        self._entries = body.files + body.directories
        self._average_bytes = body.bytes // max(1, body.files)
        self._unit_bytes = min(_UNIT_BYTES, max(_UNIT_BYTES // 4, body.bytes // _FEWEST_UNITS))
        self._unit_entries = min(
            UNIT_ENTRIES, max(UNIT_ENTRIES // 4, self._entries // _FEWEST_UNITS)
        )
        self._selection = selection
        self._units: list[_PlannedUnit] = []
        self._early = Spool[Entry]()
        self._homes: dict[int, _PlannedUnit] = {}
        # Size of each frame that the worker's reader will still have in memory.
        self._kept: OrderedDict[int, int] = OrderedDict()
        self._kept_bytes = 0
        self._pack_numbers: dict[str, int] = {}
        self._page_bytes = 0

    def add(self, page: Page, content: Raw | None) -> None:
        """Add a leaf page with its content, or None if it cannot be read."""
        items, packs = _items(content)
        entries = len(items) or (self._entries if page.listed is None else page.listed.entries)
        parts = self._parts(entries, is_alone=page.listed is None)
        self._page_bytes += 0 if content is None else len(content)
        kept = None
        if content is not None and self._page_bytes <= _KEPT_PAGE_BYTES:
            kept = bytes(content)
        for part in range(parts):
            stretch = Stretch(page=page, part=part, parts=parts, early=array("I"), content=kept)
            begin, end = stretch.bounds(entries)
            unit = self._unit_for(end - begin)
            unit.stretches.append(stretch)
            try:
                for index in range(begin, end if items else begin):
                    if self._is_early(unit, items[index], packs, page.where):
                        stretch.early.append(index)
            except (Damaged, TypeError, KeyError, ValueError, IndexError):
                items = []  # the worker that reads the leaf reports the problem

    def units(self) -> Iterator[Unit]:
        """Yield the units in path order, each with its early files."""
        for unit in self._units:
            early = [self._early.at(position) for position in unit.early]
            yield Unit(stretches=unit.stretches, early=early)

    def close(self) -> None:
        """Remove the spool."""
        self._early.close()

    def _parts(self, entries: int, *, is_alone: bool) -> int:
        parts = entries * self._average_bytes // STRETCH_BYTES
        if is_alone:
            parts = max(parts, entries // FEW_ENTRIES)
        # A part has at least two entries. So a leaf with one folder and one file is not divided. If
        # the file is large, several workers restore its pieces later.
        return max(1, min(parts, _MOST_PARTS, entries // 2))

    def _unit_for(self, entries: int) -> _PlannedUnit:
        """Return the unit that the next entries belong to."""
        unit = self._units[-1] if self._units else None
        if (
            unit is None
            or unit.entries >= self._unit_entries
            or unit.entries * self._average_bytes >= self._unit_bytes
        ):
            unit = _PlannedUnit()
            self._units.append(unit)
            self._kept.clear()  # another worker may get the new unit
            self._kept_bytes = 0
        unit.entries += entries
        return unit

    def _is_early(self, unit: _PlannedUnit, item: Any, packs: list[str], where: str) -> bool:
        """Return whether an earlier unit writes the file as an early file.

        Add an early file to the home of its frame. For any other file, record this unit as the home
        of its frame.
        """
        blobs = item["blobs"]
        if len(blobs) != 1 or item["lists"] or "holes" in item or "hard_link" in item:
            return False
        path = from_path_text(item["path"], where)
        if not self._selection.includes(path):
            return False
        pack, offset, _, inner, length, *_ = blobs[0]
        number = self._pack_numbers.setdefault(packs[pack], len(self._pack_numbers))
        frame = number << _OFFSET_BITS | offset
        if frame in self._kept:
            self._kept.move_to_end(frame)
            return False
        home = self._homes.get(frame)
        if home is not None and len(home.early) < _MOST_EARLY_FILES:
            names = [bytes.fromhex(name) for name in packs]
            home.early.append(self._early.add(entry_from_item(item, path, names, where)))
            return True
        if len(self._homes) >= _MOST_FRAMES:
            self._homes.clear()
        self._homes[frame] = unit
        self._keep(frame, max(_SHARED_FRAME_BYTES, inner + length))
        return False

    def _keep(self, frame: int, size_bytes: int) -> None:
        self._kept[frame] = size_bytes
        self._kept_bytes += size_bytes
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= self._kept.popitem(last=False)[1]


def _items(content: Raw | None) -> tuple[list[Any], list[str]]:
    """Return the items and packs of a leaf, or nothing if it is unreadable.

    They are not validated here: the worker that reads the leaf validates it.
    """
    try:
        page = orjson.loads(b"" if content is None else content)
        return list(page["items"]), list(page["packs"])
    except (TypeError, KeyError, ValueError):
        return [], []
