"""Channel to the worker reader: fork, and slots of shared memory.

- The worker sends values through slots of shared memory. A slot is a fixed part of the memory for
  one value. The worker may fill all slots before the caller reads the first slot. A slot is reused
  after the caller has read it.
- The worker is forked while its parent has a single thread, because a fork copies no other thread.
  The worker closes the descriptors that it inherits. Otherwise a worker that outlives its parent
  would keep the lock of the backup run, and the next run could not start.
- The worker writes no files.
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
SLOT_BYTES = 2 * 1024 * 1024  # more than the longest path with the largest attributes
BATCH_BYTES = 512 * 1024  # usual size of a message with several paths
_HEAD = struct.Struct("<?QQ")  # whether marshal encoded the value; its size; size of the data
_MARSHAL_VERSION = 2  # later versions take time to search for repeated values
_NUMBER = struct.Struct("<Q")

Work = Callable[[OpenSource, "WorkerEnd"], None]


@contextmanager
def start_worker(
    work: Work, sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> "Iterator[WorkerChannel | None]":
    """Fork a process that runs `work` for each requested source.

    Yield None if the system or the sources do not support workers. The worker ends with the block.
    """
    if not may_fork() or not any(source.supports_worker_reader for source in sources):
        yield None
        return
    own_socket, worker_socket = socket.socketpair()
    memory = memoryview(mmap.mmap(-1, _SLOTS * SLOT_BYTES))
    pid = fork()
    if not pid:
        _serve(work, WorkerEnd(worker_socket, memory), sources, scratch, now)
    worker_socket.close()
    try:
        yield WorkerChannel(own_socket, memory, sources)
    finally:
        own_socket.close()
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


class WorkerChannel:
    """The caller's end of the channel, which receives values."""

    def __init__(self, end: socket.socket, memory: memoryview, sources: Sequence[Source]) -> None:
        self._end = end
        self._memory = memory
        self._sources = sources
        self._slot = 0

    def request(self, source: Source) -> bool:
        """Request a source; return False if the source does not support workers.

        Call it only after all values of the previous source were received.
        """
        if not source.supports_worker_reader:
            return False
        with suppress(BrokenPipeError):  # the worker died; `receive` raises the error
            self._end.sendall(_NUMBER.pack(self._sources.index(source)))
        return True

    def receive(self) -> tuple[Any, bytes, int | None]:
        """Return the next value, the data after it, and a descriptor or None."""
        try:
            sizes, descriptors, _, _ = socket.recv_fds(self._end, _HEAD.size, 1)
        except ConnectionResetError:
            sizes, descriptors = b"", []
        if len(sizes) < _HEAD.size:
            raise BackupError(
                "worker process of the backup: it was killed. Run the same command again."
            )
        is_plain, size, more = _HEAD.unpack(sizes)
        begin = self._slot * SLOT_BYTES
        packed = self._memory[begin : begin + size]
        # Both formats come from this program. Marshal takes half the time of pickle and can encode
        # nearly all values.
        value = marshal.loads(packed) if is_plain else pickle.loads(packed)  # noqa: S301, S302
        data = bytes(self._memory[begin + size : begin + size + more])
        self._slot = (self._slot + 1) % _SLOTS
        with suppress(BrokenPipeError):
            self._end.sendall(b"\0")
        return value, data, descriptors[0] if descriptors else None


class WorkerEnd:
    """The worker's end of the channel."""

    def __init__(self, end: socket.socket, memory: memoryview) -> None:
        self.end = end
        self._memory = memory
        self._slot = 0
        self._free = _SLOTS

    def receive_request(self) -> int:
        """Return the index of the next requested source; `EOFError` at the end."""
        while self._free < _SLOTS:
            self._await_slots()
        number = self.end.recv(_NUMBER.size)
        if len(number) < _NUMBER.size:
            raise EOFError
        return int(_NUMBER.unpack(number)[0])

    def send(self, value: object, about: str = "it", descriptor: int | None = None) -> None:
        """Pickle and send a value; `about` names it in errors."""
        packed = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        self._send(False, packed, b"", about, descriptor)

    def send_plain(self, value: tuple[Any, ...], data: bytes = b"", about: str = "it") -> None:
        """Send a value made of tuples, lists and bytes, and data after it."""
        self._send(True, marshal.dumps(value, _MARSHAL_VERSION), data, about, None)

    def _send(
        self, is_plain: bool, packed: bytes, data: bytes, about: str, descriptor: int | None
    ) -> None:
        if not self._free:
            self._await_slots()
        size, end = len(packed), len(packed) + len(data)
        if end > SLOT_BYTES:
            raise BackupError(
                f"{about}: it takes {end} bytes with its attributes, and a first backup transfers"
                f" at most {SLOT_BYTES}. Exclude it or shorten its attributes."
            )
        begin = self._slot * SLOT_BYTES
        slot = self._memory[begin : begin + SLOT_BYTES]
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
    """Serve requests until the parent closes its end, then exit.

    The exit skips the clean-up handlers that the fork copied from the parent.
    """
    status = 1
    try:
        # The parent handles Ctrl-C and closes its end of the channel, which ends this process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        own_descriptor = parent.end.fileno()
        os.closerange(3, own_descriptor)
        os.closerange(own_descriptor + 1, os.sysconf("SC_OPEN_MAX"))
        while True:
            source = sources[parent.receive_request()]
            try:
                with source.opened(scratch, now) as opened:
                    work(opened, parent)
                    parent.send(None)
            except BackupError as error:
                parent.send(error)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        status = 0  # the parent ended, or needs no more values
    except BaseException as error:
        with suppress(OSError):
            parent.send(
                BackupError(
                    f"worker process of the backup: unexpected {type(error).__name__}. Run it"
                    " again."
                )
            )
    finally:
        os._exit(status)
