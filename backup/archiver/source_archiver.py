"""Taking a source into a run: each path becomes a row, read anew or known from an earlier run.

- A path is not read again when its stat vector is the one that an earlier run saw, and its ctime
  is at least 2 s older than that run's start: a change in the same tick of the clock would
  otherwise be missed.
- One file in thirty is read anew each night whatever its vector says; content that differs then
  is reported.
- A page of which every path is unchanged goes into the new manifest as it is: neither it nor its
  rows are decoded or encoded.
- What cannot be read is named and counted and the rest goes on; nothing of the source is hidden.
  If it is as it was by its vector, the point has what was read of it before.
- A file with several names is read once, as long as it is the same at each of them.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter
from stat import S_IFDIR, S_IFREG, S_ISDIR
from typing import TYPE_CHECKING, Protocol

from backup.archiver.blob_location import MARK_LENGTH, MAX_REFS, Outline, ReusedPage, Row
from backup.archiver.blob_writer import BlobWriter
from backup.archiver.chunker import packing_for, windows
from backup.archiver.hard_links import LinkedFiles
from backup.archiver.manifest_builder import ManifestBuilder
from backup.archiver.manifest_rows import (
    another_name,
    as_first_name,
    metadata_text,
    new_row,
    plain_text,
    read_text,
)
from backup.archiver.parent_snapshot import ParentSnapshot
from backup.archiver.upload_cache.cache import UploadCache
from backup.errors import NotWritable
from backup.format.canonical_json import to_path_text
from backup.format.snapshot import MAX_UNREAD_NAMED
from backup.records import Unread
from backup.sources import Content, Found, OpenSource, ReadFile, Whole
from backup.sources.chunk_sizes import SMALL_FILE_BYTES
from backup.sources.files.file_status import Vector

if TYPE_CHECKING:
    from backup.archiver.worker_reader import Batch, WorkerSource

_MARGIN_NS = 2_000_000_000
_NIGHTS = 30
_NIGHT_SHIFT = 20
_KIND = 0o170000  # of a path, in its mode
_NUMBER_TO_TIME = 3  # fields of a file's vector: inode, size, mtime
_STAT_FIELDS = 7  # of a vector that is a file's status; what other sources go by is shorter


@dataclass(kw_only=True, slots=True)
class Counts:
    """What a run has seen so far."""

    files: int = 0
    directories: int = 0
    bytes_read: int = 0
    bytes_total: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_unchanged: int = 0
    unread: list[Unread] = field(default_factory=list)
    unread_total: int = 0
    vanished: int = 0  # listed, and deleted before they were read
    silently_changed: int = 0

    def lack(self, item: Unread) -> None:
        """Count something that the point lacks, and name it while there is room."""
        self.unread_total += 1
        if len(self.unread) < MAX_UNREAD_NAMED:
            self.unread.append(item)


class Readable(Protocol):
    """A source while what it gave last is read, wherever it was found."""

    def read_small(self, found: Found) -> Whole | None: ...
    def read(self, found: Found) -> AbstractContextManager[Content]: ...
    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]: ...
    def chunk_bytes(self, found: Found) -> int: ...


@dataclass(kw_only=True, slots=True)
class _SamePage:
    """A page of the last run whose rows were all there again so far."""

    kept: ReusedPage
    outline: Outline
    seen: int = 0


class Archiver:
    """Takes the paths of a run, source by source in name order."""

    def __init__(
        self,
        *,
        log: UploadCache,
        earlier: ParentSnapshot,
        sink: BlobWriter,
        builder: ManifestBuilder,
        started: datetime,
        on_step: Callable[[bytes], None],
        on_chunks: Callable[[], None],
    ) -> None:
        """`on_chunks` is called within a large file, when the rows before it may be committed."""
        self._log = log
        self._earlier = earlier
        self._sink = sink
        self._builder = builder
        self._night = started.toordinal() % _NIGHTS
        self._on_step = on_step
        self._on_chunks = on_chunks
        self.same_files = LinkedFiles()  # of the source that is taken; to be closed with it
        self._same: _SamePage | None = None
        self._expected: Outline
        self.counts = Counts()

    def take(self, source: OpenSource) -> Iterator[None]:
        """Take every path of a source; yields now and then, when all so far may be committed."""
        prefix = source.name.encode() + b"/"
        if self._earlier.is_empty:
            source.read_along()
        for item in source.scan_expecting():
            if isinstance(item, Unread):
                self.counts.lack(item)
                continue
            if isinstance(item, range):
                self._take_expected(item)
                yield
                continue
            path = prefix + item.path if item.path else prefix[:-1]
            self._on_step(path)
            if isinstance(item, ReadFile):
                self._take_read(item, path)
            elif not self._goes_with_its_page(source, item, path):
                row = self._row(source, item, path)
                if row is not None:
                    self._builder.add(row)
            yield

    def take_apart(self, source: "WorkerSource") -> Iterator[None]:
        """Take every path of a source that is read by another process; nothing of it is known."""
        prefix = source.name.encode() + b"/"
        for item in source.scan():
            if isinstance(item, Unread):
                self.counts.lack(item)
                continue
            if isinstance(item, Found):
                path = prefix + item.path if item.path else prefix[:-1]
                self._on_step(path)
                row = self._row(source, item, path)
                if row is not None:
                    self._builder.add(row)
            else:
                self._take_batch(item)
            yield

    def _take_batch(self, batch: "Batch") -> None:
        data = batch.data
        sizes = [size for _, _, size, _ in batch.rows if size]
        refs = iter(self._sink.add_small(data, sizes))
        rows = [
            Row(path, text or plain_text(path, vector), size, vector, [next(refs)] if size else [])
            for path, text, size, vector in batch.rows
        ]
        self._builder.add(*rows)
        counts = self.counts
        counts.bytes_read += len(data)
        counts.bytes_total += len(data)
        counts.files += batch.files
        counts.files_new += batch.files
        counts.directories += batch.directories
        self._on_step(rows[-1].path)

    def _take_read(self, file: ReadFile, path: bytes) -> None:
        """Take a file that was read along, at a first backup without another process."""
        row = Row(path, read_text(path, file), len(file.data), file.vector)
        self._add_whole(row, file.data)
        self._builder.add(row)
        self.counts.files += 1
        self.counts.files_new += 1
        self.counts.bytes_total += row.size

    def settle(self) -> None:
        """Give the builder every row so far, as a commit needs it."""
        same, self._same = self._same, None
        if same is None:
            return
        self._add_known(same.outline.paths[: same.seen])

    def _add_known(self, paths: Sequence[bytes]) -> None:
        for path in paths:
            known = self._earlier.find(path)
            if known is None:
                raise NotWritable(
                    "the send-log contradicts itself; remove the send-log and run again"
                )
            self._builder.add(known[0])

    def _take_expected(self, numbers: range) -> None:
        """Take what is as the source was told to expect."""
        start, stop = numbers.start, numbers.stop
        outline, same, counts = self._expected, self._same, self.counts
        vectors = outline.vectors[start:stop]
        directories = sum(map(S_ISDIR, map(itemgetter(4), vectors)))
        counts.directories += directories
        counts.files += len(vectors) - directories
        counts.files_unchanged += len(vectors) - directories
        counts.bytes_total += sum(map(itemgetter(1), vectors))  # of a folder it is 0
        self._on_step(outline.paths[stop - 1])
        if same is not None and same.seen == start:
            same.seen = stop
            if stop == len(outline.paths):
                self._take_over(same)
            return
        self.settle()
        self._add_known(outline.paths[start:stop])

    def _take_over(self, same: _SamePage) -> None:
        self._same = None
        self._earlier.pass_over()
        self._builder.reuse(same.kept, same.outline)

    def _expect(self, source: OpenSource, page: _SamePage) -> None:
        prefix = source.name.encode() + b"/"
        start = len(prefix)
        before = page.kept.started_ns - _MARGIN_NS
        self._expected = outline = page.outline
        # A page may go on into another source; a source's own folder has no slash behind it.
        ours = outline.paths
        if not ours[-1].startswith(prefix):
            ours = [path for path in ours if path.startswith(prefix) or path == prefix[:-1]]
        paths = [path[start:] for path in ours]
        vectors: list[Vector | None] = [None] * len(paths)
        if len(outline.vectors[0]) == _STAT_FIELDS:  # else of a source of another kind
            night = self._night
            vectors = [
                vector
                if vector[3] < before
                and (
                    (mode := vector[4]) & _KIND == S_IFDIR  # which has no content to be due
                    or (mode & _KIND == S_IFREG and (crc >> _NIGHT_SHIFT) % _NIGHTS != night)
                )
                else None
                for vector, crc in zip(outline.vectors, map(zlib.crc32, ours), strict=False)
            ]
        source.expect(paths, vectors)

    def _goes_with_its_page(self, source: OpenSource, found: Found, path: bytes) -> bool:
        """Whether the path is the next of a page that is unchanged so far."""
        same = self._same
        if same is None:
            kept = self._earlier.page_from(path) if self._builder.is_between_pages else None
            if kept is None or kept.outline is None:
                return False
            same = self._same = _SamePage(kept=kept, outline=kept.outline)
            self._expect(source, same)
        if not self._is_same(source, found, path, same):
            self.settle()
            return False
        self._count_unchanged(found)
        same.seen += 1
        if same.seen == len(same.outline.paths):
            self._take_over(same)
        return True

    def _is_same(self, source: OpenSource, found: Found, path: bytes, page: _SamePage) -> bool:
        at, outline = page.seen, page.outline
        if (
            path != outline.paths[at]
            or found.vector is None
            or outline.vectors[at] != found.vector
            or found.changed_ns >= page.kept.started_ns - _MARGIN_NS
            # Which row the other names of a file take their content from is told by rows only.
            or found.same_file is not None
        ):
            return False
        if found.kind != "file" or not self._is_due(path):
            return True
        with suppress(OSError):
            small = source.read_small(found)
            if small is not None and small.data:  # nothing to be looked up where it is the same
                mark = self._sink.id_of(small.data)[:MARK_LENGTH]
                return small.changed is None and mark == outline.marks[at]
            row, reason = self._read_anew(source, found, path)
            return reason is None and row.content_mark() == outline.marks[at]
        return False

    def _row(self, source: Readable, found: Found, path: bytes) -> Row | None:
        known = self._earlier.find(path)
        before = None if known is None else known[0]
        first = self.same_files.find(found.same_file) if found.same_file else None
        if first is not None and found.vector == first.vector:
            row = another_name(path, first)
        elif known is not None and self._is_unchanged(found, *known):
            row = as_first_name(known[0])
        else:
            read = self._read(source, found, path, before)
            if read is None:
                return None
            row = read
        if found.same_file is not None:
            if first is None or not _is_same_file(row, first):
                self.same_files.add(found.same_file, row)
            elif found.vector != first.vector:  # it got another name or mode meanwhile
                row = another_name(path, first)
                # Its further names look like this one, and need not be read.
                self.same_files.add(found.same_file, replace(first, vector=found.vector))
        self._tally(found, row, before)
        return row

    def _is_unchanged(self, found: Found, row: Row, started_ns: int) -> bool:
        return (
            found.vector is not None
            and found.vector == row.vector
            and found.changed_ns < started_ns - _MARGIN_NS
            and not (found.kind == "file" and self._is_due(row.path))
            and all(self._log.pack(number) is not None for number in row.packs())
        )

    def _is_due(self, path: bytes) -> bool:
        return (zlib.crc32(path) >> _NIGHT_SHIFT) % _NIGHTS == self._night

    def _read(self, source: Readable, found: Found, path: bytes, before: Row | None) -> Row | None:
        try:
            row, reason = self._read_anew(source, found, path)
        except FileNotFoundError:
            self.counts.vanished += 1
            return None
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            known = self._as_before(found, before)
            if known is not None:
                reason += "; the point has what was read of it before"
            self.counts.lack(Unread(path=to_path_text(path), reason=reason))
            return known
        if reason is not None:
            self.counts.lack(Unread(path=to_path_text(path), reason=reason))
        return row

    def _as_before(self, found: Found, before: Row | None) -> Row | None:
        """What an earlier run has of a path that did not change since, and cannot be read now."""
        if before is None or found.vector is None or found.vector != before.vector:
            return None
        if not self._log.recall_packs(before.packs()):
            return None
        return as_first_name(before)

    def _read_anew(self, source: Readable, found: Found, path: bytes) -> tuple[Row, str | None]:
        """The row, and why its content is neither the old nor the new."""
        if found.kind != "file":
            return new_row(path, found, xattrs=source.xattrs(found)), None
        small = source.read_small(found)
        if small is not None:
            row = new_row(path, found, xattrs=small.xattrs, size=len(small.data))
            self._add_whole(row, small.data)
            return row, small.changed
        with source.read(found) as content:
            xattrs = source.xattrs(found)
            row = Row(path=path, text="", size=0, vector=found.vector)
            self._read_content(content, row, source.chunk_bytes(found))
            reason = content.changed()
            # Known only now: a file that became shorter has the size up to which it was read.
            row.size = content.size
            row.text = metadata_text(path, found, xattrs, content.size, content.holes)
        return row, reason

    def _add_whole(self, row: Row, data: bytes) -> None:
        if data:
            row.blobs.append(self._sink.add(data))
            self.counts.bytes_read += len(data)

    def _read_content(self, content: Content, row: Row, average: int) -> None:
        if content.size < SMALL_FILE_BYTES:
            self._add_whole(row, _read_whole(content))
            return
        for window, ends in windows(content, average, self._sink.window):
            row.blobs += self._sink.add_window(window, ends, packing_for(average))
            self.counts.bytes_read += len(window)
            if len(row.blobs) > 2 * MAX_REFS:
                self._builder.spill(row)
            self._on_step(row.path)
            if self._same is None:  # otherwise rows before it are not told apart from its page
                self._on_chunks()

    def _count_unchanged(self, found: Found) -> None:
        counts = self.counts
        if found.kind == "directory":
            counts.directories += 1
        elif found.kind == "file":
            counts.files += 1
            counts.bytes_total += found.size
            counts.files_unchanged += 1

    def _tally(self, found: Found, row: Row, before: Row | None) -> None:
        counts = self.counts
        if found.kind == "directory":
            counts.directories += 1
        if found.kind != "file":
            return
        counts.files += 1
        counts.bytes_total += row.size
        if before is None:
            counts.files_new += 1
        elif row is before or row.content_mark() == before.content_mark():
            counts.files_unchanged += 1
        else:
            counts.files_changed += 1
            if found.vector is not None and found.vector == before.vector:
                counts.silently_changed += 1


def _is_same_file(row: Row, first: Row) -> bool:
    """Whether two names of one number are of one file, as both were read.

    The number of a file that was deleted since goes to the next new one; and one that was written
    to between its names has two contents.
    """
    return (
        row.vector is not None
        and first.vector is not None
        and row.vector[:_NUMBER_TO_TIME] == first.vector[:_NUMBER_TO_TIME]
        and row.content_mark() == first.content_mark()
    )


def _read_whole(content: Content) -> bytes:
    buffer = memoryview(bytearray(content.size))
    filled = 0
    while filled < len(buffer) and (count := content.readinto(buffer[filled:])):
        filled += count
    return bytes(buffer[:filled])
