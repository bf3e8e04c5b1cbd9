"""Reading apart: what a set has at its first backup is found and read by a process of its own.

To find and read small files is as much work for Python as to make pages and packs of them, and two
processes do both at once.

- The process walks a source and reads what is small.  What is large it only opens: the descriptor
  comes over, and is read here.
- It lies ahead by a few slots of memory that both have; each is used again when it was emptied.
- It is forked while this process has a single thread, since a fork copies no other, and closes what
  it inherited: so the lock of the send-log ends with this process and not with that one.
- It writes nothing.  When it dies the run fails, and can be run again.
"""

import marshal
import mmap
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from backup.errors import BackupError, SourceFailed
from backup.forking import may_fork
from backup.format.canonical import to_path_text
from backup.format.manifest import Kind
from backup.lazy_dataclass import dataclass
from backup.records import Unread
from backup.sources import Content, Found, LeftOut, OpenSource, ReadFile, Source, Whole
from backup.sources.file_content import FileContent
from backup.sources.survey import Survey, Told
from backup.writing.entries import metadata_text, read_text
from backup.writing.places import Vector

_SLOTS = 12
_SLOT_BYTES = 2 * 1024 * 1024  # the longest path with the most attributes takes less
_BATCH_BYTES = 512 * 1024
_FIRST_BYTES = 32 * 1024  # which the walk waits for
_SIZES = struct.Struct("<?QQ")  # whether a slot has rows; of its value and of the data behind it
_PLAIN = 2  # of marshal's formats: none later, which look for what stands there twice
_NUMBER = struct.Struct("<Q")


# A path that needs nothing more: path, metadata, size, stat vector.
# Its content lies behind that of the row before.
ReadRow = tuple[bytes, str, int, Vector | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Paths that follow each other."""

    rows: list[ReadRow]
    directories: int
    files: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """A file to be read here; its descriptor comes with it, unless it cannot be read."""

    found: Found
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    status: os.stat_result | None = None
    is_replaced: bool = False
    error: OSError | None = None


class SourceApart:
    """A source that is read by another process, as far as whoever takes it needs one."""

    def __init__(self, near: OpenSource, line: "_Line") -> None:
        self.name = near.name
        self._near = near
        self._line = line
        self._opened: _Opened | None = None
        self._descriptor: int | None = None

    def scan(self) -> Iterator[Found | Unread | Batch]:
        """Give every path in order; a file is to be read before the next item is asked for."""
        try:
            while True:
                value, data, self._descriptor = self._line.receive()
                if value is None:
                    return
                if isinstance(value, LeftOut):
                    self._near.left_out.add(value)
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
        """None: what could be read at once came in a batch."""
        del found
        return None

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        """Open the file that `scan` gave last; an `OSError` says why it cannot be read."""
        del found
        opened, descriptor = self._opened, self._descriptor
        if opened is not None and opened.error is not None:
            raise opened.error
        if opened is None or opened.status is None or descriptor is None:
            raise RuntimeError("a file was asked for that was not given")
        yield FileContent(descriptor, opened.status, is_replaced=opened.is_replaced)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        """The extended attributes of the file that `scan` gave last, sorted by name."""
        del found
        return () if self._opened is None else self._opened.xattrs

    def chunk_bytes(self, found: Found) -> int:
        """The average size of chunk that suits the content."""
        return self._near.chunk_bytes(found)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._opened = self._descriptor = None


class Reading:
    """The process that reads; use `reading_apart`."""

    def __init__(self, line: "_Line", sources: Sequence[Source]) -> None:
        self._line = line
        self._sources = sources

    def of(self, source: Source, opened: OpenSource) -> SourceApart | None:
        """Have a source read there, if it can be; to its end before the next one."""
        if not source.may_be_read_apart:
            return None
        self._line.ask(self._sources.index(source))
        return SourceApart(opened, self._line)


class Surveying:
    """The process that surveys; use `surveying_apart`."""

    def __init__(self, line: "_Line", sources: Sequence[Source]) -> None:
        self._line = line
        self._sources = sources

    @contextmanager
    def of(self, source: Source, opened: OpenSource) -> Iterator[None]:
        """Have a source surveyed within the block, if it can be."""
        if not source.may_be_read_apart:
            yield
            return
        self._line.ask(self._sources.index(source))
        survey = Survey(self._told())
        opened.rely_on(survey)
        try:
            yield
        except SourceFailed:
            survey.close()
            raise
        survey.close()

    def _told(self) -> Iterator[Told]:
        with suppress(BackupError):  # it died, or met what the walk meets as well
            while (value := self._line.receive()[0]) is not None:
                if isinstance(value, BackupError):
                    raise value
                yield from value


@contextmanager
def reading_apart(
    sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> Iterator[Reading | None]:
    """Start a process that reads, and end it with the block; None where there can or need be none.

    A `BackupError` of its `of` says that it died.
    """
    with _another_process(_read, sources, scratch, now) as line:
        yield None if line is None else Reading(line, sources)


@contextmanager
def surveying_apart(
    sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> Iterator[Surveying | None]:
    """Start a process that surveys, and end it with the block; None where there can be none."""
    with _another_process(_survey, sources, scratch, now) as line:
        yield None if line is None else Surveying(line, sources)


@contextmanager
def _another_process(
    work: "_Work", sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> "Iterator[_Line | None]":
    if not may_fork() or not any(source.may_be_read_apart for source in sources):
        yield None
        return
    ours, theirs = socket.socketpair()
    memory = memoryview(mmap.mmap(-1, _SLOTS * _SLOT_BYTES))
    pid = os.fork()
    if not pid:
        _serve(work, _Far(theirs, memory), sources, scratch, now)
    theirs.close()
    try:
        yield _Line(ours, memory)
    finally:
        ours.close()
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


class _Line:
    """Our end: values come in the order of their slots."""

    def __init__(self, end: socket.socket, memory: memoryview) -> None:
        self._end = end
        self._memory = memory
        self._slot = 0

    def ask(self, number: int) -> None:
        """Have the source of this number read next."""
        with suppress(BrokenPipeError):  # its death is noticed where it is listened to
            self._end.sendall(_NUMBER.pack(number))

    def receive(self) -> tuple[Any, bytes, int | None]:
        """The next value, with data and a descriptor of its own."""
        try:
            sizes, descriptors, _, _ = socket.recv_fds(self._end, _SIZES.size, 1)
        except ConnectionResetError:
            sizes, descriptors = b"", []
        if len(sizes) < _SIZES.size:
            raise BackupError(
                "a process that took part in the backup was killed; run the same command again"
            )
        is_rows, size, more = _SIZES.unpack(sizes)
        begin = self._slot * _SLOT_BYTES
        packed = self._memory[begin : begin + size]
        # Both are our own; rows, which nearly everything is, take half the time so.
        value = marshal.loads(packed) if is_rows else pickle.loads(packed)  # noqa: S301, S302
        data = bytes(self._memory[begin + size : begin + size + more])
        self._slot = (self._slot + 1) % _SLOTS
        with suppress(BrokenPipeError):
            self._end.sendall(b"\0")
        return value, data, descriptors[0] if descriptors else None


class _Far:
    """The other end, and what is gathered there for the next slot."""

    def __init__(self, end: socket.socket, memory: memoryview) -> None:
        self.end = end
        self._memory = memory
        self._slot = 0
        self._free = _SLOTS
        self._begin()

    def asked(self) -> int:
        """The number of the source to read; `EOFError` when there is none any more."""
        while self._free < _SLOTS:
            self._await_slots()
        number = self.end.recv(_NUMBER.size)
        if len(number) < _NUMBER.size:
            raise EOFError
        return int(_NUMBER.unpack(number)[0])

    def add(self, row: ReadRow, data: bytes, kind: Kind) -> None:
        """Gather a path that needs nothing more."""
        path, text, *_ = row
        size = len(path) + len(data) + len(text) * (1 if text.isascii() else 4)
        if self._bytes + size > _BATCH_BYTES:
            self._flush()
        self._bytes += size
        self._rows.append(row)
        self._parts.append(data)
        self._files += kind == "file"
        self._directories += kind == "directory"

    def send(self, value: object, descriptor: int | None = None) -> None:
        """Send a value, behind everything that was gathered."""
        self._flush()
        self._send(value, pickle.dumps(value, pickle.HIGHEST_PROTOCOL), descriptor=descriptor)

    def send_plain(self, value: tuple[Any, ...]) -> None:
        """Send what is made of tuples, bytes and the like."""
        self._send(value, marshal.dumps(value, _PLAIN))

    def _begin(self) -> None:
        self._rows: list[ReadRow] = []
        self._parts: list[bytes] = []
        self._bytes = self._files = self._directories = 0

    def _flush(self) -> None:
        if self._rows:
            value, data = (self._rows, self._directories, self._files), b"".join(self._parts)
            self._begin()
            self._send(value, marshal.dumps(value, _PLAIN), data)

    def _send(
        self, value: object, packed: bytes, data: bytes = b"", descriptor: int | None = None
    ) -> None:
        if not self._free:
            self._await_slots()
        size, end = len(packed), len(packed) + len(data)
        if end > _SLOT_BYTES:
            raise BackupError(
                f"{_named(value)} takes {end} bytes with its attributes, and {_SLOT_BYTES} can be"
                " handed over in a first backup; exclude it or shorten what it has"
            )
        begin = self._slot * _SLOT_BYTES
        slot = self._memory[begin : begin + _SLOT_BYTES]
        slot[:size], slot[size:end] = packed, data
        self._slot = (self._slot + 1) % _SLOTS
        self._free -= 1
        descriptors = [] if descriptor is None else [descriptor]
        is_rows = bool(data) or isinstance(value, tuple)
        socket.send_fds(self.end, [_SIZES.pack(is_rows, size, len(data))], descriptors)

    def _await_slots(self) -> None:
        emptied = self.end.recv(_SLOTS - self._free)
        if not emptied:
            raise EOFError
        self._free += len(emptied)


_Work = Callable[[OpenSource, _Far], None]


def _serve(
    work: _Work,
    far: _Far,
    sources: Sequence[Source],
    scratch: Path,
    now: Callable[[], datetime],
) -> NoReturn:
    """Read what is asked for until nobody asks, and leave without any of the parent's clean-up."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and closes its end
        own = far.end.fileno()
        os.closerange(3, own)
        os.closerange(own + 1, os.sysconf("SC_OPEN_MAX"))
        while True:
            source = sources[far.asked()]
            try:
                with source.opened(scratch, now) as opened:
                    work(opened, far)
                    far.send(None)
            except BackupError as error:
                far.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        status = 0  # the parent is gone, or has enough
    except BaseException as error:
        with suppress(OSError):
            far.send(BackupError(f"unexpected {type(error).__name__} in a process that took part"))
    finally:
        os._exit(status)


def _read(source: OpenSource, far: _Far) -> None:
    prefix = source.name.encode() + b"/"
    source.read_along()
    for item in source.scan_expecting():
        if isinstance(item, ReadFile):
            path = prefix + item.path
            far.add((path, read_text(path, item), len(item.data), item.vector), item.data, "file")
        elif isinstance(item, Unread):
            far.send(item)
        elif isinstance(item, Found) and item.kind == "file":
            _hand_over(source, item, far)
        elif isinstance(item, Found):
            path = prefix + item.path if item.path else prefix[:-1]
            text = metadata_text(path, item, source.xattrs(item), 0)
            far.add((path, text, 0, item.vector), b"", item.kind)
    _tell_left_out(source.left_out, far)


def _survey(source: OpenSource, far: _Far) -> None:
    folders: list[Told] = []
    size, enough = 0, _FIRST_BYTES
    with suppress(OSError):  # a folder was moved away: the walk does the rest alone
        for told in source.survey():
            folders.append(told)
            size += sum(map(len, told))
            if size > enough:
                far.send_plain(tuple(folders))
                folders, size, enough = [], 0, min(2 * enough, _BATCH_BYTES)
    far.send_plain(tuple(folders))


def _tell_left_out(left_out: LeftOut, far: _Far) -> None:
    # One by one, since a hundred of the longest paths would not fit into a slot.
    for item in left_out.named:
        far.send(LeftOut(named=[item]))
    far.send(LeftOut(total=left_out.total, vanished=left_out.vanished))


def _named(value: object) -> str:
    """What a value is about, for a message."""
    match value:
        case _Opened():
            return to_path_text(value.found.path)
        case LeftOut(named=[item]):
            return item.path
        case Unread():
            return value.path
        case ([(bytes() as path, *_), *_], _, _):
            return to_path_text(path)
    return "what was found"


def _hand_over(source: OpenSource, found: Found, far: _Far) -> None:
    try:
        with source.read(found) as content:
            if not isinstance(content, FileContent):
                raise TypeError("only files can be handed over")
            opened = _Opened(
                found=found,
                xattrs=source.xattrs(found),
                status=content.opened,
                is_replaced=content.is_replaced,
            )
            far.send(opened, content.descriptor)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except OSError as error:
        far.send(_Opened(found=found, error=error))
