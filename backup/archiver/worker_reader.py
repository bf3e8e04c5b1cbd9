"""Worker reader of a first backup: small files in batches, read-ahead.

For small files, finding and reading takes Python as much time as storing (writing packs and
manifest pages). So a worker process finds and reads files while the main process stores them.

- The worker walks a source and reads small files. It opens large files and passes their descriptors
  to the main process, which reads them.
- If the worker dies, the run fails and can be repeated.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.archiver import worker_ipc
from backup.archiver.manifest_rows import metadata_text, read_text
from backup.archiver.worker_ipc import WorkerChannel, WorkerEnd
from backup.errors import BackupError
from backup.format.canonical_json import to_path_text
from backup.format.manifest import Kind
from backup.records import Unread
from backup.sources import Content, Found, LeftOut, OpenSource, ReadFile, Source, Whole
from backup.sources.files.file_content import FileContent
from backup.sources.files.file_status import Vector
from backup.sources.files.open_prefetch import advise_read

_READ_AHEAD_BYTES = 4 * 1024 * 1024  # start of a large file to read in advance

# A path that the worker has finished: path, encoded metadata, size, stat vector (size, times and
# inode). The contents of consecutive paths follow each other in the data of their batch. If the
# metadata can be made from the stat vector alone, the metadata is empty here, and the main process
# makes it. This divides the work better between the two processes.
ReadRow = tuple[bytes, str, int, Vector]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Consecutive paths that the worker has finished, with their content."""

    rows: list[ReadRow]
    directories: int
    files: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """A file that the main process reads; its descriptor is sent with this."""

    found: Found
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    status: os.stat_result | None = None
    is_replaced: bool = False
    error: OSError | None = None


class WorkerSource:
    """A source that the worker process reads; `Archiver` uses it as a source."""

    def __init__(self, local: OpenSource, channel: WorkerChannel) -> None:
        self.name = local.name
        self._local = local
        self._channel = channel
        self._opened: _Opened | None = None
        self._descriptor: int | None = None

    def scan(self) -> Iterator[Found | Unread | Batch]:
        """Yield every path in order; `read` opens the file yielded last."""
        try:
            while True:
                value, data, self._descriptor = self._channel.receive()
                if value is None:
                    return
                if isinstance(value, LeftOut):
                    self._local.left_out.add(value)
                    continue
                if isinstance(value, BaseException):
                    raise value
                if isinstance(value, _Opened):
                    self._opened = value
                    yield value.found
                    self._close()
                elif isinstance(value, Unread):
                    yield value
                else:
                    rows, directories, files = value
                    yield Batch(rows=rows, directories=directories, files=files, data=data)
        finally:
            self._close()

    def read_small(self, found: Found) -> Whole | None:
        """Return None: small files arrive in a batch."""
        del found
        return None

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        """Open the file that `scan` yielded last; raise its `OSError`."""
        del found
        opened, descriptor = self._opened, self._descriptor
        if opened is not None and opened.error is not None:
            raise opened.error
        if opened is None or opened.status is None or descriptor is None:
            raise RuntimeError("the requested file is not the one that was found last")
        yield FileContent(descriptor, opened.status, is_replaced=opened.is_replaced)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        """Return the extended attributes of the last file, sorted by name."""
        del found
        return () if self._opened is None else self._opened.xattrs

    def chunk_bytes(self, found: Found) -> int:
        """Return the average chunk size for the content, in bytes."""
        return self._local.chunk_bytes(found)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._opened = self._descriptor = None


class WorkerReader:
    """The worker process; use `open_worker_reader`."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._channel = channel

    def open_source(self, source: Source, opened: OpenSource) -> WorkerSource | None:
        """Return a source that the worker reads, or None if it is unsupported.

        Call it only after the previous source was read to its end.
        """
        return WorkerSource(opened, self._channel) if self._channel.request(source) else None


@contextmanager
def open_worker_reader(
    sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> Iterator[WorkerReader | None]:
    """Start the worker; end it with the block.

    Yield None if the system or the sources do not support a worker. If the worker dies, `scan` of
    its sources raises `BackupError`.
    """
    with worker_ipc.start_worker(_send_source, sources, scratch, now) as channel:
        yield None if channel is None else WorkerReader(channel)


class _Rows:
    """Rows that wait to be sent together; call `flush` before another message."""

    def __init__(self, parent: WorkerEnd) -> None:
        self._parent = parent
        self._begin()

    def add(self, row: ReadRow, data: bytes, kind: Kind) -> None:
        """Add a path that the worker has finished."""
        path, text, _, _ = row
        size = len(path) + len(data) + len(text) * (1 if text.isascii() else 4)
        if self._bytes + size > worker_ipc.BATCH_BYTES:
            self.flush()
        self._bytes += size
        self._rows.append(row)
        self._parts.append(data)
        if kind == "file":
            self._files += 1
        elif kind == "directory":
            self._directories += 1

    def flush(self) -> None:
        """Send the collected rows."""
        if self._rows:
            value, data = (self._rows, self._directories, self._files), b"".join(self._parts)
            about = to_path_text(self._rows[0][0])
            self._begin()
            self._parent.send_plain(value, data, about)

    def _begin(self) -> None:
        self._rows: list[ReadRow] = []
        self._parts: list[bytes] = []
        self._bytes = self._files = self._directories = 0


def _send_source(source: OpenSource, parent: WorkerEnd) -> None:
    rows = _Rows(parent)
    try:
        _send_all(source, parent, rows)
    except BackupError:
        rows.flush()  # the recovery point contains the rows before the error
        raise
    rows.flush()
    # Send one message per path: all paths together may be longer than a message can be.
    for item in source.left_out.named:
        parent.send(LeftOut(named=[item]), item.path)
    parent.send(LeftOut(total=source.left_out.total, vanished=source.left_out.vanished))


def _send_all(source: OpenSource, parent: WorkerEnd, rows: _Rows) -> None:
    prefix = source.name.encode() + b"/"
    for item in source.scan_with_content():
        if isinstance(item, ReadFile):
            path = prefix + item.path
            text = read_text(path, item) if item.xattrs else ""
            rows.add((path, text, len(item.data), item.vector), item.data, "file")
        elif isinstance(item, Unread):
            rows.flush()
            parent.send(item, item.path)
        elif item.kind == "file":
            rows.flush()
            _send_open_file(source, item, parent)
        else:
            if item.vector is None:
                raise TypeError("only paths with a stat vector are read by the worker")
            path = prefix + item.path if item.path else prefix[:-1]
            text = metadata_text(path, item, source.xattrs(item), 0)
            rows.add((path, text, 0, item.vector), b"", item.kind)


def _send_open_file(source: OpenSource, found: Found, parent: WorkerEnd) -> None:
    try:
        with source.read(found) as content:
            if not isinstance(content, FileContent):
                raise TypeError("only files can be passed to another process")
            opened = _Opened(
                found=found,
                xattrs=source.xattrs(found),
                status=content.opened,
                is_replaced=content.is_replaced,
            )
            advise_read(content.descriptor, _READ_AHEAD_BYTES)
            parent.send(opened, to_path_text(found.path), content.descriptor)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except OSError as error:
        parent.send(_Opened(found=found, error=error), to_path_text(found.path))
