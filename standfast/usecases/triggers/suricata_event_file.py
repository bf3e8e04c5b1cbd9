"""Lines of Suricata's event file, and the position in the file.

Each line is processed once, even after rotations, truncations and restarts.
`standfast/triggers/suricata.py` parses a line.

Rules
- The position is stored when all lines before it have been processed. After a crash, lines that
  follow the stored position may be read a second time. The ledger (the database of incidents)
  stores the id of each line, and ignores a repeated line.
- After a rotation, the renamed file is read to its end before the new file. If the file was rotated
  several times while no process read it, all files are read in the order of their modification. A
  compressed file is not read. If the position is in a file that was compressed or removed, a
  warning is logged.
- An incomplete last line is read when it is complete. A line longer than a megabyte is not an
  event, and is skipped.
- The first read starts at the end of the file: earlier events are not new alerts.
"""

import hashlib
import io
import json
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from standfast.errors import ConfigurationError

log = logging.getLogger("standfast.serve")

_HEAD_BYTES = 256
_READ_BYTES = 1024 * 1024  # limit of one read; a longer line is not an event
_CLOCK_SECONDS = 1.0  # the clock of a file system may be slow by this many seconds
_COMPRESSED = {".gz", ".xz", ".zst", ".bz2", ".lz4"}


@dataclass(frozen=True, kw_only=True)
class FilePosition:
    """A position in a file that is identified by its first bytes."""

    offset: int
    head: str  # digest of the first bytes, because names change and inodes are reused
    head_bytes: int
    since: float  # time at which the position was read; at offset 0, only newer files are read


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Whole lines, in order, and the position after them."""

    lines: tuple[bytes, ...]
    ends: tuple[int, ...]  # the position after each line
    spot: FilePosition

    def first(self, count: int) -> "Batch":
        """Return the first `count` lines, at least one, as a batch."""
        spot = replace(self.spot, offset=self.ends[count - 1])
        return Batch(lines=self.lines[:count], ends=self.ends[:count], spot=spot)


class SuricataTail:
    """A reader of one event file, with a stored position."""

    def __init__(self, file: Path, kept_in: Path, follower: str) -> None:
        """Read the position that `follower` has stored in the folder `kept_in`.

        `follower` is the name of the reader of `file`; two readers have separate positions.
        """
        self._file = file
        name = hashlib.sha256(f"{follower} {file}".encode()).hexdigest()[:16]
        self._position_file = kept_in / f"eve-{name}.json"
        self._spot = self._read_position()

    def read(self, most_bytes: int = _READ_BYTES) -> Batch | None:
        """Return the next lines, or None if there are none.

        The caller processes the lines, and then calls `keep`.
        """
        if self._spot is None:
            return self._first()
        for path, offset in self._files(self._spot):
            try:
                with path.open("rb") as file:
                    batch = _read(file, offset, most_bytes, is_last=path == self._file)
            except OSError as error:
                log.warning("events %s: cannot be read: %s", path.name, error.strerror)
                return None
            if batch is not None:
                return batch
        return None

    def keep(self, batch: Batch) -> None:
        """Store the end of this processed batch as the position."""
        self._spot = batch.spot
        draft = self._position_file.with_suffix(".draft")
        text = json.dumps(
            {
                "file": str(self._file),
                "offset": batch.spot.offset,
                "head": batch.spot.head,
                "head_bytes": batch.spot.head_bytes,
                "since": batch.spot.since,
            }
        )
        try:
            self._position_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._position_file)
        except OSError as error:
            raise ConfigurationError(
                f"position in {self._file.name}: cannot be written to "
                f"{self._position_file.parent}: "
                f"{error.strerror}. Make the folder writable."
            ) from None

    def _first(self) -> Batch:
        """Return an empty batch with the position at the end of the file."""
        try:
            with self._file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _READ_BYTES))
                unended = file.read()
                spot = _spot(file, size - len(unended) + unended.rfind(b"\n") + 1)
        except OSError:
            spot = _spot(io.BytesIO(), 0)
        return Batch(lines=(), ends=(), spot=spot)

    def _files(self, spot: FilePosition) -> list[tuple[Path, int]]:
        """Return the files to read, oldest first, each with its offset."""
        if not self._file.exists():
            return []
        if spot.offset and _is_at(self._file, spot):
            return [(self._file, spot.offset)]
        moved = [
            path
            for path in self._file.parent.glob(f"{self._file.name}*")
            if path != self._file and path.suffix not in _COMPRESSED and path.is_file()
        ]
        moved.sort(key=lambda path: path.stat().st_mtime_ns)
        if not spot.offset:
            new = [path for path in moved if path.stat().st_mtime > spot.since - _CLOCK_SECONDS]
            return [(path, 0) for path in (*new, self._file)]
        while moved and not _is_at(moved[0], spot):
            moved.pop(0)
        if not moved:
            log.warning("events %s: truncated or removed; read from the start", self._file.name)
            return [(self._file, 0)]
        newer = [*moved[1:], self._file]
        return [(moved[0], spot.offset), *((path, 0) for path in newer)]

    def _read_position(self) -> FilePosition | None:
        try:
            found = json.loads(self._position_file.read_bytes())
            return FilePosition(
                offset=int(found["offset"]),
                head=str(found["head"]),
                head_bytes=int(found["head_bytes"]),
                since=float(found["since"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("position in %s: not readable; reading starts at its end", self._file.name)
            return None


def _read(file: BinaryIO, offset: int, most_bytes: int, *, is_last: bool) -> Batch | None:
    file.seek(offset)
    content = file.read(most_bytes)
    end = content.rfind(b"\n") + 1
    is_whole = len(content) < most_bytes  # the content reaches the end of the file
    if not content or (not end and is_whole and is_last):
        return None  # nothing new, or a line is still being written
    if end:
        lines = content[: end - 1].split(b"\n")
    else:  # last line of a file that is no longer written, or a part of a line that is too long
        lines, end = ([content] if is_whole else []), len(content)
    found: list[bytes] = []
    ends: list[int] = []
    position = offset
    for line in lines:
        position += len(line) + 1
        if line.strip():
            found.append(line)
            ends.append(min(position, offset + end))
    return Batch(lines=tuple(found), ends=tuple(ends), spot=_spot(file, offset + end))


def _is_at(path: Path, spot: FilePosition) -> bool:
    """Return whether a path is the file of the position, and long enough."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            return size >= spot.offset and _head(file, spot.head_bytes) == spot.head
    except OSError:
        return False


def _spot(file: BinaryIO, offset: int) -> FilePosition:
    head_bytes = min(_HEAD_BYTES, offset)
    return FilePosition(
        offset=offset, head=_head(file, head_bytes), head_bytes=head_bytes, since=time.time()
    )


def _head(file: BinaryIO, size: int) -> str:
    file.seek(0)
    return hashlib.sha256(file.read(size)).hexdigest()
