"""Source archiver: change detection, rereads, unreadable paths, counters.

- A stat vector is the part of a file's status that change detection compares. A path is not read
  again if its vector equals the vector in an earlier run. In addition, its ctime must be at least 2
  s older than the start of that earlier run. File times are coarse: without this margin, a change
  directly after the read could leave the vector equal.
- One file in thirty is read again each day, even if its vector is unchanged. If the content of such
  a file has changed, the run warns about the file.
- If all paths of a manifest page of the previous run are unchanged, the page is reused without
  decoding it.
- The result names and counts each path that cannot be read, and the run continues. If the vector of
  such a path is unchanged, the recovery point contains the content that an earlier run read.
- A file with several hard links is read once, if its vector is the same at each link.
"""

import zlib
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from backup.archiver.archiver_records import MARK_LENGTH, MAX_REFS, Outline, ReusedPage, Row
from backup.archiver.blob_writer import BlobWriter, RunEvents
from backup.archiver.chunker import choose_packing, windows
from backup.archiver.manifest_builder import ManifestBuilder
from backup.archiver.manifest_rows import (
    LinkedFiles,
    hard_link_row,
    metadata_text,
    new_row,
    plain_text,
    without_hard_link,
)
from backup.archiver.parent_snapshot import ParentSnapshot
from backup.archiver.upload_cache.cache import UploadCache
from backup.errors import NotWritable
from backup.format.canonical_json import to_path_text
from backup.format.snapshot import MAX_UNREAD_NAMED
from backup.records import Unread
from backup.sources import Content, Found, OpenSource, Whole
from backup.sources.chunk_sizes import SMALL_FILE_BYTES

if TYPE_CHECKING:
    from backup.archiver.worker_reader import Batch, WorkerSource

_MARGIN_NS = 2_000_000_000
REREAD_CYCLE_DAYS = 30
_REREAD_HASH_SHIFT = 20
_CONTENT_FIELDS = (
    3  # first fields of a vector: inode, size, mtime; a new name or mode does not change them
)


@dataclass(kw_only=True, slots=True)
class Counts:
    """Counters of a run."""

    files: int = 0
    directories: int = 0
    bytes_read: int = 0
    bytes_total: int = 0
    files_new: int = 0
    files_changed: int = 0
    files_unchanged: int = 0
    unread: list[Unread] = field(default_factory=list)
    unread_total: int = 0
    vanished: int = 0  # files that were deleted after they were found and before they were read
    silently_changed: int = 0  # files with an unchanged vector and changed content

    def add_unread(self, item: Unread) -> None:
        """Count a path that could not be read; name up to `MAX_UNREAD_NAMED`."""
        self.unread_total += 1
        if len(self.unread) < MAX_UNREAD_NAMED:
            self.unread.append(item)


class Readable(Protocol):
    """A source that can read the path that its scan yielded last."""

    def read_small(self, found: Found) -> Whole | None: ...
    def read(self, found: Found) -> AbstractContextManager[Content]: ...
    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]: ...
    def chunk_bytes(self, found: Found) -> int: ...


@dataclass(kw_only=True, slots=True)
class _UnchangedPage:
    """A page of the previous run; its first `seen` paths are unchanged so far."""

    kept: ReusedPage
    outline: Outline
    seen: int = 0


class Archiver:
    """Archives the paths of a run, source by source in name order."""

    def __init__(
        self,
        *,
        cache: UploadCache,
        parent: ParentSnapshot,
        data: BlobWriter,
        builder: ManifestBuilder,
        started: datetime,
        events: RunEvents,
    ) -> None:
        self._cache = cache
        self._parent = parent
        self._data = data
        self._builder = builder
        self._cycle_day = started.toordinal() % REREAD_CYCLE_DAYS
        self._events = events
        self.same_files = LinkedFiles()  # of the current source; the caller closes it at its end
        self._unchanged: _UnchangedPage | None = None
        self.counts = Counts()

    def archive(self, source: "OpenSource | WorkerSource") -> None:
        """Archive every path of a source."""
        prefix = source.name.encode() + b"/"
        for item in source.scan():
            if isinstance(item, Unread):
                self.counts.add_unread(item)
                continue
            if isinstance(item, Found):
                path = prefix + item.path if item.path else prefix[:-1]
                self._events.path_reached(path)
                if not self._continues_page(source, item, path):
                    row = self._row(source, item, path)
                    if row is not None:
                        self._builder.add(row)
            else:
                self._add_batch(item)
            self._events.commit_possible()

    def _add_batch(self, batch: "Batch") -> None:
        data = batch.data
        sizes = [size for _, _, size, _ in batch.rows if size]
        refs = iter(self._data.add_small(data, sizes))
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
        self._events.path_reached(rows[-1].path)

    def add_unchanged_rows(self) -> None:
        """Pass the rows of a page that is unchanged so far to the builder.

        A row is the manifest entry of one path. Before a commit, the manifest builder must have the
        rows of all paths so far.
        """
        page, self._unchanged = self._unchanged, None
        if page is None:
            return
        for path in page.outline.paths[: page.seen]:
            known = self._parent.find(path)
            if known is None:
                raise NotWritable(
                    "upload cache: a page and its rows contradict each other. Remove the file"
                    " (send_log), then run again; this costs only uploads."
                )
            self._builder.add(known[0])

    def _reuse_page(self, page: _UnchangedPage) -> None:
        self._unchanged = None
        self._parent.skip_page()
        self._builder.reuse(page.kept, page.outline)

    def _continues_page(self, source: Readable, found: Found, path: bytes) -> bool:
        """Return whether the path is the next path of an unchanged page."""
        page = self._unchanged
        if page is None:
            kept = self._parent.find_page(path) if self._builder.is_between_pages else None
            if kept is None or kept.outline is None:
                return False
            page = self._unchanged = _UnchangedPage(kept=kept, outline=kept.outline)
        if not self._matches_page(source, found, path, page):
            self.add_unchanged_rows()
            return False
        self._count_unchanged(found)
        page.seen += 1
        if page.seen == len(page.outline.paths):
            self._reuse_page(page)
        return True

    def _matches_page(
        self, source: Readable, found: Found, path: bytes, page: _UnchangedPage
    ) -> bool:
        index, outline = page.seen, page.outline
        if (
            path != outline.paths[index]
            or found.vector is None
            or outline.vectors[index] != found.vector
            or found.changed_ns >= page.kept.started_ns - _MARGIN_NS
            # A file with several hard links needs its row, and `outline` has only paths and
            # vectors.
            or found.same_file is not None
        ):
            return False
        if found.kind != "file" or not self._is_reread_due(path):
            return True
        with suppress(OSError):
            small = source.read_small(found)
            if small is not None and small.data:  # compare the content by its hash; store nothing
                mark = self._data.compute_id(small.data)[:MARK_LENGTH]
                return small.changed is None and mark == outline.marks[index]
            row, reason = self._read_again(source, found, path)
            return reason is None and row.content_mark() == outline.marks[index]
        return False

    def _row(self, source: Readable, found: Found, path: bytes) -> Row | None:
        known = self._parent.find(path)
        before = None if known is None else known[0]
        first = self.same_files.find(found.same_file) if found.same_file else None
        if first is not None and found.vector == first.vector:
            row = hard_link_row(path, first)
        elif known is not None and self._is_unchanged(found, *known):
            row = without_hard_link(known[0])
        else:
            read = self._read(source, found, path, before)
            if read is None:
                return None
            row = read
        if found.same_file is not None:
            if first is None or not _is_same_file(row, first):
                self.same_files.add(found.same_file, row)
            elif (
                found.vector != first.vector
            ):  # the mode or a name was changed between the two paths
                row = hard_link_row(path, first)
                # Store the new vector: the next names have it too, and need not be read.
                self.same_files.add(found.same_file, replace(first, vector=found.vector))
        self._count(found, row, before)
        return row

    def _is_unchanged(self, found: Found, row: Row, started_ns: int) -> bool:
        return (
            found.vector is not None
            and found.vector == row.vector
            and found.changed_ns < started_ns - _MARGIN_NS
            and not (found.kind == "file" and self._is_reread_due(row.path))
            and all(self._cache.pack(number) is not None for number in row.packs())
        )

    def _is_reread_due(self, path: bytes) -> bool:
        return (zlib.crc32(path) >> _REREAD_HASH_SHIFT) % REREAD_CYCLE_DAYS == self._cycle_day

    def _read(self, source: Readable, found: Found, path: bytes, before: Row | None) -> Row | None:
        try:
            row, reason = self._read_again(source, found, path)
        except FileNotFoundError:
            self.counts.vanished += 1
            return None
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            known = self._reuse_earlier_row(found, before)
            if known is not None:
                reason += "; the recovery point has the content that was read before"
            self.counts.add_unread(Unread(path=to_path_text(path), reason=reason))
            return known
        if reason is not None:
            self.counts.add_unread(Unread(path=to_path_text(path), reason=reason))
        return row

    def _reuse_earlier_row(self, found: Found, before: Row | None) -> Row | None:
        """Return the earlier row if path and packs are unchanged, or None."""
        if before is None or found.vector is None or found.vector != before.vector:
            return None
        if not self._cache.recall_packs(before.packs()):
            return None
        return without_hard_link(before)

    def _read_again(self, source: Readable, found: Found, path: bytes) -> tuple[Row, str | None]:
        """Read a path; return its row, and how it changed meanwhile or None."""
        if found.kind != "file":
            return new_row(path, found, xattrs=source.xattrs(found)), None
        small = source.read_small(found)
        if small is not None:
            row = new_row(path, found, xattrs=small.xattrs, size=len(small.data))
            self._add_small_file(row, small.data)
            return row, small.changed
        with source.read(found) as content:
            xattrs = source.xattrs(found)
            row = Row(path=path, text="", size=0, vector=found.vector)
            self._read_content(content, row, source.chunk_bytes(found))
            reason = content.changed()
            # Set the size only now: if the file became shorter, it is the number of bytes read.
            row.size = content.size
            row.text = metadata_text(path, found, xattrs, content.size, content.holes)
        return row, reason

    def _add_small_file(self, row: Row, data: bytes) -> None:
        if data:
            row.blobs.append(self._data.add(data))
            self.counts.bytes_read += len(data)

    def _read_content(self, content: Content, row: Row, average: int) -> None:
        if content.size < SMALL_FILE_BYTES:
            self._add_small_file(row, _read_whole(content))
            return
        for window, ends in windows(content, average, self._data.window):
            row.blobs += self._data.add_window(window, ends, choose_packing(average))
            self.counts.bytes_read += len(window)
            if len(row.blobs) > 2 * MAX_REFS:
                self._builder.spill(row)
            self._events.path_reached(row.path)
            # While the paths of an old page are unchanged, the builder does not have their rows,
            # so no commit is possible here.
            if self._unchanged is None:
                self._events.commit_possible()

    def _count_unchanged(self, found: Found) -> None:
        counts = self.counts
        if found.kind == "directory":
            counts.directories += 1
        elif found.kind == "file":
            counts.files += 1
            counts.bytes_total += found.size
            counts.files_unchanged += 1

    def _count(self, found: Found, row: Row, before: Row | None) -> None:
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
    """Return whether two names with one inode number are one unchanged file.

    They are two files if a new file got the inode number of a deleted file. The file is not
    unchanged if it was changed between the reads of its names.
    """
    return (
        row.vector is not None
        and first.vector is not None
        and row.vector[:_CONTENT_FIELDS] == first.vector[:_CONTENT_FIELDS]
        and row.content_mark() == first.content_mark()
    )


def _read_whole(content: Content) -> bytes:
    buffer = memoryview(bytearray(content.size))
    filled = 0
    while filled < len(buffer) and (count := content.readinto(buffer[filled:])):
        filled += count
    return bytes(buffer[:filled])
