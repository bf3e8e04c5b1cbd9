"""Following Suricata's event file: every line once, across rotations, truncations and restarts.

Owns the place in the file, one for each who follows it. Leaves what a line means to
`standfast/triggers/suricata.py`, and that it counts once to the ledger, which knows each line's id.

Rules
- The place is written down after what stands before it was dealt with. After a crash some lines are
  read again, and the ledger knows them; none is left out.
- A file that was moved away is read to its end before its successor, and so is every one between
  that was made while nobody read. One that was compressed meanwhile is gone, and that is said.
- A line without its end is left for the next look. One longer than a megabyte is no event.
- The first time, reading begins at the end: what happened before is not tonight's alarm.
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
_READ_BYTES = 1024 * 1024  # at once; a longer line is no event
_CLOCK_SECONDS = 1.0  # a file system's clock may lag behind
_COMPRESSED = {".gz", ".xz", ".zst", ".bz2", ".lz4"}


@dataclass(frozen=True, kw_only=True)
class FilePosition:
    """A place in a file, and which file that is: the one that begins so, wherever it lies now."""

    offset: int
    head: str  # digest of the file's first bytes: names change, and inodes are used again
    head_bytes: int
    since: float  # when it was taken: of a file in which nothing was read yet, that is all there is


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Whole lines, in order, and the place behind them."""

    lines: tuple[bytes, ...]
    ends: tuple[int, ...]  # where each line ends in the file
    spot: FilePosition

    def first(self, count: int) -> "Batch":
        """Give its first lines, at least one, as a batch of their own."""
        spot = replace(self.spot, offset=self.ends[count - 1])
        return Batch(lines=self.lines[:count], ends=self.ends[:count], spot=spot)


class SuricataTail:
    """One file, as `follower` follows it; its place is written down in the folder `kept_in`."""

    def __init__(self, file: Path, kept_in: Path, follower: str) -> None:
        self._file = file
        name = hashlib.sha256(f"{follower} {file}".encode()).hexdigest()[:16]
        self._note = kept_in / f"eve-{name}.json"
        self._spot = self._read_note()

    def read(self, most_bytes: int = _READ_BYTES) -> Batch | None:
        """Give the next lines; None when there is nothing new. `keep` says that they are done."""
        if self._spot is None:
            return self._first()
        for path, offset in self._files(self._spot):
            try:
                with path.open("rb") as file:
                    batch = _read(file, offset, most_bytes, is_last=path == self._file)
            except OSError as error:
                log.warning("the events %s cannot be read: %s", path.name, error.strerror)
                return None
            if batch is not None:
                return batch
        return None

    def keep(self, batch: Batch) -> None:
        """Write down that everything before the end of this batch was dealt with."""
        self._spot = batch.spot
        draft = self._note.with_suffix(".draft")
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
            self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._note)
        except OSError as error:
            raise ConfigurationError(
                f"the place in {self._file.name} cannot be written to {self._note.parent}: "
                f"{error.strerror}"
            ) from None

    def _first(self) -> Batch:
        """Begin at the end of what is there; a file that comes later is read from its start."""
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
        """Give the files from the one that was read last to the newest, and from where each."""
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
            log.warning("the events %s were cut or taken away; begun anew", self._file.name)
            return [(self._file, 0)]
        newer = [*moved[1:], self._file]
        return [(moved[0], spot.offset), *((path, 0) for path in newer)]

    def _read_note(self) -> FilePosition | None:
        try:
            found = json.loads(self._note.read_bytes())
            return FilePosition(
                offset=int(found["offset"]),
                head=str(found["head"]),
                head_bytes=int(found["head_bytes"]),
                since=float(found["since"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("the place in %s is not readable; it is begun at its end", self._file.name)
            return None


def _read(file: BinaryIO, offset: int, most_bytes: int, *, is_last: bool) -> Batch | None:
    file.seek(offset)
    content = file.read(most_bytes)
    end = content.rfind(b"\n") + 1
    is_whole = len(content) < most_bytes  # up to the file's end
    if not content or (not end and is_whole and is_last):
        return None  # or the rest of a line is still to come
    if end:
        lines = content[: end - 1].split(b"\n")
    else:  # the last words of a file that nobody writes any more, or longer than any event
        lines, end = ([content] if is_whole else []), len(content)
    found: list[bytes] = []
    ends: list[int] = []
    place = offset
    for line in lines:
        place += len(line) + 1
        if line.strip():
            found.append(line)
            ends.append(min(place, offset + end))
    return Batch(lines=tuple(found), ends=tuple(ends), spot=_spot(file, offset + end))


def _is_at(path: Path, spot: FilePosition) -> bool:
    """Is this the file of that place, and no shorter than it?"""
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
