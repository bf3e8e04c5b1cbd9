"""Timeline of frozen log lines with an indicator, for a playbook.

Frozen logs are copied and signed as evidence: a signed manifest contains the hash of each copy. An
indicator is a trace of an intruder, such as a text or a hash. The caller decides which evidence
folders are valid, and where the result is stored.

Rules
- The copies are read, never the original logs. Nothing in an evidence folder is changed.
- A copy is hashed while it is read. If the copy differs from the manifest, is not in the manifest
  or is missing, the review names the copy and excludes its content, because an intruder may have
  changed it.
- A line has one entry for each indicator that it contains. If an indicator is in a file but not in
  any single line, the entry is about the whole file.
- A time is read from the line if it is written as ISO 8601 or in the form of web servers. A time
  without a zone is read as UTC, and marked. Lines without a time come last, in the order of the
  file.
- Card numbers, social-security numbers and mail addresses in a line are masked. The indicator is
  shown next to the line as it was entered.
- A line is cut after 500 characters. Entries beyond MOST_ENTRIES are counted but not stored.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from standfast.errors import UsageError
from standfast.evidence.item_file import FILES_FOLDER
from standfast.evidence.manifest import Item, Kind, Manifest
from standfast.evidence.review.indicator_search import (
    SHORTEST_TEXT,
    Indicators,
    Scan,
    SearchedFile,
    read_indicators,
    searched_files,
)
from standfast.evidence.text_masking import mask_text
from standfast.records import JsonObject, timestamp

MOST_ENTRIES = 10_000
LONGEST_LINE = 500
_LONGEST_READ = 64 * 1024
_CHANGED, _ADDED, _GONE = "is not what was sealed", "is not in the manifest", "is gone"
_ISO = re.compile(
    rb"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?\s?(Z|[+-]\d\d:?\d\d)?"
)
_WEB = re.compile(rb"(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line, or one whole file, that contains an indicator."""

    at: str  # UTC, as `records.timestamp` writes it; "" if the line has no time
    is_zone_assumed: bool
    source: str
    path: str
    line: int  # line number from 1; 0 means the whole file
    indicator: str
    text: str

    def as_json(self) -> JsonObject:
        """Return the JSON form, one line of the timeline file."""
        return {
            "at": self.at,
            "zone_assumed": self.is_zone_assumed,
            "source": self.source,
            "path": self.path,
            "line": self.line,
            "indicator": self.indicator,
            "text": self.text,
        }


@dataclass(kw_only=True)
class Review:
    """The result of a review."""

    entries: list[Entry] = field(default_factory=list)
    files: int = 0
    unread: int = 0
    left_out: int = 0  # entries beyond MOST_ENTRIES
    altered: list[str] = field(
        default_factory=list
    )  # copies that differ from the manifest, each with the difference

    def in_order(self) -> list[Entry]:
        """Return the entries by time; entries without a time are last, as found."""
        return sorted(self.entries, key=lambda entry: (not entry.at, entry.at))


@dataclass(kw_only=True)
class _FileMatches:
    """The matches in one file, and the hash of the content that was read."""

    entries: list[Entry] = field(default_factory=list)
    left_out: int = 0
    sha256: str

    def add(self, entry: Entry, most: int) -> None:
        if len(self.entries) < most:
            self.entries.append(entry)
        else:
            self.left_out += 1


def wanted_of(indicators: Sequence[str], accounts: Sequence[str]) -> Indicators:
    """Return the indicators to search for, including the account names.

    Omit names that are shorter than SHORTEST_TEXT. Raise UsageError if nothing remains.
    """
    names = dict.fromkeys(map(_name_of, accounts))
    given = [*indicators, *(f"text:{name}" for name in names if len(name) >= SHORTEST_TEXT)]
    if names and not given:
        raise UsageError(
            f"accounts: names with fewer than {SHORTEST_TEXT} characters are in every log. Search "
            "the frozen copies for them by hand."
        )
    return read_indicators(given)


def too_short(accounts: Sequence[str]) -> int:
    """Count the accounts with names that are too short to search for."""
    return sum(len(_name_of(account)) < SHORTEST_TEXT for account in dict.fromkeys(accounts))


def _name_of(account: str) -> str:
    return account.rpartition(":")[2].strip()


def review(folders: Sequence[tuple[Path, Manifest]], wanted: Indicators) -> Review:
    """Review evidence folders, each with its verified manifest."""
    found = Review()
    for folder, manifest in folders:
        _review_folder(folder / FILES_FOLDER, manifest, wanted, found)
    return found


def _review_folder(files: Path, manifest: Manifest, wanted: Indicators, found: Review) -> None:
    seen, altered = Scan(), found.altered
    sealed = {item.location: item for item in manifest.items}
    for file in searched_files(files, wanted, seen):
        item = sealed.get(file.path.relative_to(files).as_posix())
        try:
            problem = _ADDED if item is None else _difference_of(item, file)
            matches = _FileMatches(sha256=file.sha256)
            if not problem:
                matches = _matches_in(
                    manifest.source, file, wanted, MOST_ENTRIES - len(found.entries)
                )
        except OSError:  # the file was readable when `searched_files` opened it
            seen.unread += 1
            continue
        if not problem and matches.sha256 != file.sha256:
            problem = _CHANGED  # the file changed between the two reads
        if problem:
            altered.append(f"{manifest.source}: {mask_text(file.shown)} {problem}")
        else:
            found.entries += matches.entries
            found.left_out += matches.left_out
    for item in manifest.items:
        if item.kind in (Kind.FILE, Kind.LINK) and not os.path.lexists(files / item.location):
            altered.append(f"{manifest.source}: {mask_text(item.path)} {_GONE}")
    found.files += seen.files
    found.unread += seen.unread


def _difference_of(item: Item, file: SearchedFile) -> str:
    """Return how the content differs from the manifest, or ""."""
    status = file.path.lstat()
    if item.kind is Kind.LINK:
        return "" if stat.S_ISLNK(status.st_mode) else _CHANGED
    if not stat.S_ISREG(status.st_mode) or status.st_size != item.size_bytes:
        return _CHANGED
    return _CHANGED if file.sha256 not in ("", item.sha256) else ""


def _matches_in(source: str, file: SearchedFile, wanted: Indicators, most: int) -> "_FileMatches":
    found = _FileMatches(sha256=file.sha256)
    in_lines: set[str] = set()
    if any(indicator.startswith("text:") for indicator in file.indicators):
        with file.path.open("rb") as stream:
            hashed = hashlib.sha256()
            for entry in _lines(source, file.shown, stream, hashed, wanted):
                in_lines.add(entry.indicator)
                found.add(entry, most)
            found.sha256 = hashed.hexdigest()
    for indicator in file.indicators:
        # If no single line contains the text, it spans lines or is UTF-16: report the whole file.
        if indicator not in in_lines:
            whole = Entry(
                at="",
                is_zone_assumed=False,
                source=source,
                path=file.shown,
                line=0,
                indicator=indicator,
                text="",
            )
            found.add(whole, most)
    return found


def _lines(
    source: str, shown: str, stream: BinaryIO, hashed: "hashlib._Hash", wanted: Indicators
) -> Iterator[Entry]:
    needles = [(f"text:{text}", text.encode()) for text in wanted.texts]
    number, begins = 0, True
    while raw := stream.readline(_LONGEST_READ):
        hashed.update(raw)
        number += begins
        begins = raw.endswith(b"\n")
        for indicator, needle in needles:
            if needle in raw:
                at, is_assumed = _moment(raw)
                yield Entry(
                    at=at,
                    is_zone_assumed=is_assumed,
                    source=source,
                    path=shown,
                    line=number,
                    indicator=indicator,
                    text=_shown_line(raw),
                )


def _moment(line: bytes) -> tuple[str, bool]:
    try:
        if match := _ISO.search(line):
            day, clock, fraction, zone = (part.decode() for part in match.groups(b""))
            moment = datetime.fromisoformat(f"{day}T{clock}.{fraction or '0':<06}{zone}")
            return timestamp(moment if zone else moment.replace(tzinfo=UTC)), not zone
        if match := _WEB.search(line):
            moment = datetime.strptime(match[1].decode(), "%d/%b/%Y:%H:%M:%S %z")
            return timestamp(moment), False
    except (ValueError, OverflowError):
        pass  # the digits are not a valid time
    return "", False


def _shown_line(raw: bytes) -> str:
    # Mask the line before it is cut: a part of a number would not be recognised.
    masked = mask_text(raw.decode("latin-1")).encode("latin-1")
    text = masked.decode("utf-8", "backslashreplace").strip()[:LONGEST_LINE]
    return "".join(character if character.isprintable() else " " for character in text)
