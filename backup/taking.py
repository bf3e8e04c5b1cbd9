"""Taking a source into a run: each path becomes a row, read anew or known from an earlier run.

- A path is not read again when its stat vector is the one that an earlier run saw, and its ctime
  is at least 2 s older than that run's start: a change in the same tick of the clock would
  otherwise be missed.
- One file in thirty is read anew each night whatever its vector says; content that differs then
  is reported.
- A page of which every path is unchanged goes into the new manifest as it is: neither it nor its
  rows are decoded or encoded.
- What cannot be read is named and counted and the rest goes on; nothing of the source is hidden.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from backup.blobs import BlobSink
from backup.chunks import SMALL_FILE_BYTES, cut
from backup.earlier import Earlier
from backup.errors import NotWritable
from backup.format.canonical import to_path_text
from backup.format.manifest import Entry, metadata_to_json
from backup.format.snapshot import MOST_UNREAD_NAMED
from backup.pages import ManifestBuilder
from backup.places import MOST_REFS, KeptPage, Outline, Row
from backup.records import Unread
from backup.send_log import SendLog
from backup.sources import Content, Found, OpenSource

_MARGIN_NS = 2_000_000_000
_NIGHTS = 30
_NIGHT_SHIFT = 20


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
    silently_changed: int = 0

    def lack(self, item: Unread) -> None:
        """Count something that the point lacks, and name it while there is room."""
        self.unread_total += 1
        if len(self.unread) < MOST_UNREAD_NAMED:
            self.unread.append(item)


@dataclass(kw_only=True, slots=True)
class _SamePage:
    """A page of the last run whose rows were all there again so far."""

    kept: KeptPage
    outline: Outline
    seen: int = 0


class Taker:
    """Takes the paths of a run, source by source in name order."""

    def __init__(
        self,
        *,
        log: SendLog,
        earlier: Earlier,
        sink: BlobSink,
        builder: ManifestBuilder,
        started: datetime,
        on_step: Callable[[bytes], None],
    ) -> None:
        self._log = log
        self._earlier = earlier
        self._sink = sink
        self._builder = builder
        self._night = started.toordinal() % _NIGHTS
        self._on_step = on_step
        self._same_files: dict[tuple[int, int], Row] = {}
        self._same: _SamePage | None = None
        self.counts = Counts()

    def take(self, source: OpenSource) -> Iterator[None]:
        """Take every path of a source; yields after each, when the rows so far may be committed."""
        self._same_files.clear()
        for item in source.scan():
            if isinstance(item, Unread):
                self.counts.lack(item)
                continue
            path = source.name.encode() + (b"/" + item.path if item.path else b"")
            self._on_step(path)
            if not self._goes_with_its_page(source, item, path):
                row = self._row(source, item, path)
                if row is not None:
                    self._builder.add(row)
            yield

    def settle(self) -> None:
        """Give the builder every row so far, as a commit needs it."""
        same, self._same = self._same, None
        if same is None:
            return
        for path in same.outline.paths[: same.seen]:
            known = self._earlier.find(path)
            if known is None:
                raise NotWritable(
                    "the send-log contradicts itself; remove the send-log and run again"
                )
            self._builder.add(known[0])

    def _goes_with_its_page(self, source: OpenSource, found: Found, path: bytes) -> bool:
        """Whether the path is the next of a page that is unchanged so far."""
        same = self._same
        if same is None:
            kept = self._earlier.page_from(path) if self._builder.is_between_pages else None
            if kept is None or kept.outline is None:
                return False
            same = self._same = _SamePage(kept=kept, outline=kept.outline)
        if not self._is_same(source, found, path, same):
            self.settle()
            return False
        self._count_unchanged(found)
        same.seen += 1
        if same.seen == len(same.outline.paths):
            self._same = None
            self._earlier.pass_over()
            self._builder.reuse(same.kept, same.outline)
        return True

    def _is_same(self, source: OpenSource, found: Found, path: bytes, page: _SamePage) -> bool:
        at, outline = page.seen, page.outline
        if (
            path != outline.paths[at]
            or found.vector is None
            or outline.vectors[at] != [*found.vector]
            or found.changed_ns >= page.kept.started_ns - _MARGIN_NS
            # Which row the other names of a file take their content from is told by rows only.
            or found.same_file is not None
        ):
            return False
        if found.kind != "file" or not self._is_due(path):
            return True
        with suppress(OSError):
            row, reason = self._read_anew(source, found, path)
            return reason is None and row.content_mark() == outline.marks[at]
        return False

    def _row(self, source: OpenSource, found: Found, path: bytes) -> Row | None:
        known = self._earlier.find(path)
        before = None if known is None else known[0]
        first = self._same_files.get(found.same_file) if found.same_file else None
        if first is not None:
            row = _new_row(path, found, size=_size(first), hard_link=first.path)
            row.blobs, row.lists = list(first.blobs), list(first.lists)
            row.list_packs = set(first.list_packs)
            for name in ("holes", "xattrs"):
                if name in first.fields:
                    row.fields[name] = first.fields[name]
        elif known is not None and self._is_unchanged(found, *known):
            row = known[0]
            row.fields.pop("hard_link", None)
        else:
            read = self._read(source, found, path)
            if read is None:
                return None
            row = read
        if found.same_file is not None and first is None:
            self._same_files[found.same_file] = row
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

    def _read(self, source: OpenSource, found: Found, path: bytes) -> Row | None:
        try:
            row, reason = self._read_anew(source, found, path)
        except OSError as error:
            vanished = isinstance(error, FileNotFoundError)
            reason = "vanished" if vanished else f"cannot be read: {error.strerror or error}"
            self.counts.lack(Unread(path=to_path_text(path), reason=reason))
            return None
        if reason is not None:
            self.counts.lack(Unread(path=to_path_text(path), reason=reason))
        return row

    def _read_anew(self, source: OpenSource, found: Found, path: bytes) -> tuple[Row, str | None]:
        """The row, and why its content is neither the old nor the new."""
        if found.kind != "file":
            return _new_row(path, found, xattrs=source.xattrs(found)), None
        with source.read(found) as content:
            row = _new_row(path, found, xattrs=source.xattrs(found))
            self._read_content(content, row, source.chunk_bytes(found))
            reason = content.changed()
            _set_content(row, content)
        return row, reason

    def _read_content(self, content: Content, row: Row, average: int) -> None:
        if content.size < SMALL_FILE_BYTES:
            data = _read_whole(content)
            if data:
                row.blobs.append(self._sink.add(data))
                self.counts.bytes_read += len(data)
            return
        for chunk in cut(content, average):
            row.blobs.append(self._sink.add(chunk))
            self.counts.bytes_read += len(chunk)
            if len(row.blobs) > 2 * MOST_REFS:
                self._builder.spill(row)
            self._on_step(row.path)

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
        counts.bytes_total += _size(row)
        if before is None:
            counts.files_new += 1
        elif row is before or row.content_mark() == before.content_mark():
            counts.files_unchanged += 1
        else:
            counts.files_changed += 1
            if found.vector is not None and found.vector == before.vector:
                counts.silently_changed += 1


def _new_row(
    path: bytes,
    found: Found,
    *,
    xattrs: tuple[tuple[bytes, bytes], ...] = (),
    size: int = 0,
    hard_link: bytes | None = None,
) -> Row:
    entry = Entry(
        path=path,
        kind=found.kind,
        mode=found.mode,
        uid=found.uid,
        gid=found.gid,
        user=found.user,
        group=found.group,
        modified_ns=found.modified_ns,
        size=size,
        blobs=(),
        lists=(),
        holes=(),
        xattrs=xattrs,
        target=found.target,
        hard_link=hard_link,
        device=found.device,
    )
    return Row(path=path, fields=metadata_to_json(entry), vector=found.vector)


def _set_content(row: Row, content: Content) -> None:
    # Known only now: a file that became shorter has the size up to which it was read.
    row.fields["size"] = content.size
    if content.holes:
        row.fields["holes"] = [list(hole) for hole in content.holes]


def _read_whole(content: Content) -> bytes:
    buffer = memoryview(bytearray(content.size))
    filled = 0
    while filled < len(buffer) and (count := content.readinto(buffer[filled:])):
        filled += count
    return bytes(buffer[:filled])


def _size(row: Row) -> int:
    size = row.fields["size"]
    return size if isinstance(size, int) else 0
