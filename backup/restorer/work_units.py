"""Units of work of a restore, and the reports of the workers that do them."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from backup.errors import BackupError
from backup.format.manifest import Entry
from backup.reader.manifest_walk import Page
from backup.records import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Part number `part` of `parts` of a leaf's entries."""

    page: Page
    part: int
    parts: int
    early: "array[int]"  # indexes in the leaf of files that some unit writes early
    content: bytes | None  # of the leaf, if the plan has kept it

    def bounds(self, entries: int) -> tuple[int, int]:
        """Return the indexes in the leaf at which the stretch begins and ends."""
        return entries * self.part // self.parts, entries * (self.part + 1) // self.parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Stretches that one worker restores one after the other."""

    stretches: Sequence[Stretch]
    early: Sequence[Entry]  # files elsewhere in the tree, whose frames this unit decodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Result of a stretch, or of a part of it, since the last report."""

    path: str
    files: int
    directories: int
    size_bytes: int  # of the files
    owners_lost: int  # paths that belong to who restores, and belonged to others
    bytes_done: int
    problems: list[Problem]
    made: list[Entry]  # folders whose attributes are still to be given
    noted: list[Entry]  # the same, if they exist then
    links: list[tuple[bytes, bytes]]  # path, and the first name
    put_off: list[Entry]  # files that were made, and are to be filled in pieces
    lost: dict[str, Problem]  # of those, what cannot be filled, by path text
    matched: list[str]
    healed: list[str]
    damaged: list[str]  # packs, by name


def lost_page(page: Page, error: BackupError) -> Problem:
    """Return the problem of an unreadable page: all it lists is missing."""
    reason = f"not restored: the list of it is lost: {error}"
    return Problem(path=page.extent, reason=reason, is_missing=True, is_damage=True)


def damaged(entry: Entry, reason: str) -> Problem:
    """Return the problem of a file with damaged content."""
    return Problem(
        path=entry.text, reason=f"not restored: {reason}", is_missing=True, is_damage=True
    )
