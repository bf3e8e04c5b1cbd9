"""A second process that walks the sources while this one does the rest, and how both speak.

- It lies ahead by a few slots of memory that both have; each is used again when it was emptied.
- It is forked while this process has a single thread, since a fork copies no other, and closes what
  it inherited: so the lock of the send-log ends with this process and not with that one.
- It writes nothing.
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

from backup.errors import BackupError
from backup.sources import OpenSource, Source
from backup.system.process_fork import fork, may_fork

_SLOTS = 24
_SLOT_BYTES = 2 * 1024 * 1024  # the longest path with the most attributes takes less
BATCH_BYTES = 512 * 1024
_HEAD = struct.Struct("<?QQ")  # is a slot's value plain; its size, and that of the data behind it
_PLAIN = 2  # of marshal's formats: none later, which look for what stands there twice
_NUMBER = struct.Struct("<Q")

Work = Callable[[OpenSource, "WorkerEnd"], None]


@contextmanager
def start_worker(
    work: Work, sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> "Iterator[WorkerChannel | None]":
    """Fork a process that does `work` with each source that it is asked for, and end it in the end.

    None where there can or need be none.
    """
    if not may_fork() or not any(source.supports_worker_reader for source in sources):
        yield None
        return
    ours, theirs = socket.socketpair()
    memory = memoryview(mmap.mmap(-1, _SLOTS * _SLOT_BYTES))
    pid = fork()
    if not pid:
        _serve(work, WorkerEnd(theirs, memory), sources, scratch, now)
    theirs.close()
    try:
        yield WorkerChannel(ours, memory, sources)
    finally:
        ours.close()
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


class WorkerChannel:
    """Our end: values come in the order of their slots."""

    def __init__(self, end: socket.socket, memory: memoryview, sources: Sequence[Source]) -> None:
        self._end = end
        self._memory = memory
        self._sources = sources
        self._slot = 0

    def ask(self, source: Source) -> bool:
        """Have a source taken next, if it can be there; to its end before the one after it."""
        if not source.supports_worker_reader:
            return False
        with suppress(BrokenPipeError):  # its death is noticed where it is listened to
            self._end.sendall(_NUMBER.pack(self._sources.index(source)))
        return True

    def receive(self) -> tuple[Any, bytes, int | None]:
        """The next value, with data and a descriptor of its own."""
        try:
            sizes, descriptors, _, _ = socket.recv_fds(self._end, _HEAD.size, 1)
        except ConnectionResetError:
            sizes, descriptors = b"", []
        if len(sizes) < _HEAD.size:
            raise BackupError(
                "a process that took part in the backup was killed; run the same command again"
            )
        is_plain, size, more = _HEAD.unpack(sizes)
        begin = self._slot * _SLOT_BYTES
        packed = self._memory[begin : begin + size]
        # Both are our own; what is plain, as nearly everything, takes half the time so.
        value = marshal.loads(packed) if is_plain else pickle.loads(packed)  # noqa: S301, S302
        data = bytes(self._memory[begin + size : begin + size + more])
        self._slot = (self._slot + 1) % _SLOTS
        with suppress(BrokenPipeError):
            self._end.sendall(b"\0")
        return value, data, descriptors[0] if descriptors else None


class WorkerEnd:
    """The other end."""

    def __init__(self, end: socket.socket, memory: memoryview) -> None:
        self.end = end
        self._memory = memory
        self._slot = 0
        self._free = _SLOTS

    def asked(self) -> int:
        """The number of the source to take; `EOFError` when there is none any more."""
        while self._free < _SLOTS:
            self._await_slots()
        number = self.end.recv(_NUMBER.size)
        if len(number) < _NUMBER.size:
            raise EOFError
        return int(_NUMBER.unpack(number)[0])

    def send(self, value: object, about: str = "it", descriptor: int | None = None) -> None:
        """Send a value; `about` names it where it is too large to be sent."""
        packed = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        self._send(False, packed, b"", about, descriptor)

    def send_plain(self, value: tuple[Any, ...], data: bytes = b"", about: str = "it") -> None:
        """Send what is made of tuples, lists, bytes and the like, and data behind it."""
        self._send(True, marshal.dumps(value, _PLAIN), data, about, None)

    def _send(
        self, is_plain: bool, packed: bytes, data: bytes, about: str, descriptor: int | None
    ) -> None:
        if not self._free:
            self._await_slots()
        size, end = len(packed), len(packed) + len(data)
        if end > _SLOT_BYTES:
            raise BackupError(
                f"{about} takes {end} bytes with its attributes, and {_SLOT_BYTES} can be"
                " handed over in a first backup; exclude it or shorten what it has"
            )
        begin = self._slot * _SLOT_BYTES
        slot = self._memory[begin : begin + _SLOT_BYTES]
        slot[:size], slot[size:end] = packed, data
        self._slot = (self._slot + 1) % _SLOTS
        self._free -= 1
        descriptors = [] if descriptor is None else [descriptor]
        socket.send_fds(self.end, [_HEAD.pack(is_plain, size, len(data))], descriptors)

    def _await_slots(self) -> None:
        emptied = self.end.recv(_SLOTS - self._free)
        if not emptied:
            raise EOFError
        self._free += len(emptied)


def _serve(
    work: Work,
    parent: WorkerEnd,
    sources: Sequence[Source],
    scratch: Path,
    now: Callable[[], datetime],
) -> NoReturn:
    """Do what is asked for until nobody asks, and leave without any of the parent's clean-up."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and closes its end
        own = parent.end.fileno()
        os.closerange(3, own)
        os.closerange(own + 1, os.sysconf("SC_OPEN_MAX"))
        while True:
            source = sources[parent.asked()]
            try:
                with source.opened(scratch, now) as opened:
                    work(opened, parent)
                    parent.send(None)
            except BackupError as error:
                parent.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        status = 0  # the parent is gone, or has enough
    except BaseException as error:
        with suppress(OSError):
            parent.send(
                BackupError(f"unexpected {type(error).__name__} in a process that took part")
            )
    finally:
        os._exit(status)
