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
    made: list[Entry]  # created folders, whose attributes are set at the end
    noted: list[Entry]  # folders that were not selected; if they exist, attributes are set
    links: list[tuple[bytes, bytes]]  # path of the link, path of the first name
    postponed: list[Entry]  # files that were created empty and are filled in pieces later
    lost: dict[str, Problem]  # postponed files that cannot be filled, by path text
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
