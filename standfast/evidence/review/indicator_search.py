"""Search of indicators (text, path, SHA-256) in any files.

An indicator is a trace of an intruder. There are three kinds:
- `text:…` is found in the content of a file, exactly as it is written.
- `path:…` is a shell pattern for the whole path of a file or its last name.
- `sha256:…` is the hash of the whole file.

In contrast to YARA, text has no wildcards, and there are no conditions. Archives and encrypted
files are not opened. A file without a match is not proven to be clean.

Rules
- Text is searched as UTF-8 and as little-endian UTF-16, with upper and lower case distinguished.
- A file of any size is read once, in pieces. A text that spans two pieces is found.
- Links are not followed, and devices and pipes are not opened.
"""

import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from standfast.errors import UsageError

SHORTEST_TEXT = 4  # characters; a shorter text would match every file
LONGEST_TEXT = 500
MOST = 200  # indicators in one search
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 1024 * 1024
_FORMS = ("utf-8", "utf-16-le")


@dataclass(frozen=True, kw_only=True)
class Indicators:
    """Indicators to search for; `read_indicators` creates them."""

    texts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    hashes: frozenset[str] = frozenset()

    @property
    def needles(self) -> tuple[tuple[str, bytes], ...]:
        """Return each text indicator with its bytes in each encoding."""
        return tuple((f"text:{text}", text.encode(form)) for text in self.texts for form in _FORMS)


@dataclass(frozen=True, kw_only=True)
class Find:
    """One indicator that was found in one file."""

    indicator: str
    path: str  # relative to the folder that was searched


@dataclass(frozen=True, kw_only=True)
class SearchedFile:
    """One file that was searched."""

    path: Path
    shown: str  # its path in the folder, as text
    indicators: tuple[str, ...]
    sha256: str  # of the file; "" if the content was not read


@dataclass(kw_only=True)
class Scan:
    """The result of the search of a folder."""

    files: int = 0
    finds: list[Find] = field(default_factory=list)
    unread: int = 0  # number of files that could not be read: their content is unknown


def read_indicators(given: Sequence[str]) -> Indicators:
    """Parse indicators; UsageError names the number of the first invalid one."""
    if not given or len(given) > MOST:
        raise UsageError(
            f"indicators: {len(given):,} accounts and indicators were given. Give 1 to {MOST}."
        )
    texts, paths, hashes = [], [], set()
    for number, written in enumerate(given, 1):
        kind, _, value = written.partition(":")
        kind, value = kind.strip().lower(), value.strip()
        if kind == "text" and SHORTEST_TEXT <= len(value) <= LONGEST_TEXT:
            texts.append(value)
        elif kind == "path" and 0 < len(value) <= LONGEST_TEXT:
            paths.append(value)
        elif kind == "sha256" and _SHA256.fullmatch(value.lower()):
            hashes.add(value.lower())
        else:
            raise UsageError(
                f"indicator {number}: not valid. Write `text:` with {SHORTEST_TEXT} to "
                f"{LONGEST_TEXT} characters, `path:` with a pattern, or `sha256:` with 64 "
                "hex digits."
            )
    return Indicators(
        texts=tuple(dict.fromkeys(texts)),
        paths=tuple(dict.fromkeys(paths)),
        hashes=frozenset(hashes),
    )


def scan(folder: Path, wanted: Indicators, *, most_finds: int) -> Scan:
    """Search every file below a folder; stop after `most_finds` matches."""
    found = Scan()
    for file in searched_files(folder, wanted, found):
        found.finds += [Find(indicator=indicator, path=file.shown) for indicator in file.indicators]
        if len(found.finds) >= most_finds:
            del found.finds[most_finds:]
            break
    return found


def searched_files(folder: Path, wanted: Indicators, count: Scan) -> Iterator[SearchedFile]:
    """Yield each readable file with its indicators; count all files."""
    for path, shown in _files(folder, count):
        count.files += 1
        try:
            in_content, sha256 = _by_content(path, wanted)
        except OSError:
            count.unread += 1
            continue
        indicators = (*_by_path(shown, wanted), *in_content)
        yield SearchedFile(path=path, shown=shown, indicators=indicators, sha256=sha256)


def _files(folder: Path, found: Scan) -> Iterator[tuple[Path, str]]:
    def unreadable(_: OSError) -> None:
        found.unread += 1

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            shown = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
            yield path, shown


def _by_path(shown: str, wanted: Indicators) -> Iterator[str]:
    name = shown.rpartition("/")[2]
    for pattern in wanted.paths:
        # A copied or restored file is stored under its whole path without the first slash.
        if fnmatch.fnmatchcase(f"/{shown}", pattern) or fnmatch.fnmatchcase(name, pattern):
            yield f"path:{pattern}"


def _by_content(path: Path, wanted: Indicators) -> tuple[Sequence[str], str]:
    needles = wanted.needles
    if path.is_symlink() or not (needles or wanted.hashes):
        return (), ""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return (), ""
        hashed, kept = hashlib.sha256(), b""
        overlap = max((len(needle) for _, needle in needles), default=1) - 1
        seen: list[str] = []
        while piece := stream.read(_PIECE):
            hashed.update(piece)
            window = kept + piece
            for indicator, needle in needles:
                if indicator not in seen and needle in window:
                    seen.append(indicator)
            kept = window[-overlap:] if overlap else b""
        if (digest := hashed.hexdigest()) in wanted.hashes:
            seen.append(f"sha256:{digest}")
        return seen, digest
