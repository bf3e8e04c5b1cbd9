"""Worker pool: forked processes that take units of work through pipes.

- Each worker asks for its next unit of work; units are handed out in order. So a slow worker delays
  no other worker.
- A worker receives its units as one stream. It may ask for the next unit before it has finished the
  last one, to read ahead.
- Processes are forked only while this process has a single thread. A fork does not copy the other
  threads, and locks that they hold would stay locked in the new process.
- The main process queues a message with `post`, which never waits. The pipes of `multiprocessing`
  can wait: a worker waits until the main process reads its report. If the main process waited for
  this worker at the same time, both would wait forever.
- An error in a worker, or the death of a worker, ends the restore and is raised here. If the parent
  process dies, its workers end after their current unit.
"""

import fcntl
import os
import pickle
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from typing import Any, TypeVar

from backup.errors import BackupError
from backup.system.process_fork import fork

_LENGTH_BYTES = 8
PIPE_BYTES = (
    256 * 1024
)  # room for a usual message, so that the sender need not wait for the receiver


class PipeEnd:
    """One end of a connection that sends and receives values, by two pipes."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading  # readable when a value can be received
        self.writing = writing  # writable when the pipe has room
        self._posted = memoryview(b"")

    def send(self, value: Any) -> None:
        """Pickle and send a value, waiting for room in the pipe.

        Raise `BrokenPipeError` if the other end is closed.
        """
        rest = _framed(value)
        while rest:
            rest = rest[os.write(self.writing, rest) :]

    def post(self, value: Any) -> None:
        """Queue a value for `try_to_send`."""
        self._posted = memoryview(bytes(self._posted) + _framed(value))

    def try_to_send(self) -> bool:
        """Send queued bytes while the pipe has room; return whether all are sent."""
        os.set_blocking(self.writing, False)
        try:
            while self._posted:
                self._posted = self._posted[os.write(self.writing, self._posted) :]
        except BlockingIOError:
            return False
        finally:
            os.set_blocking(self.writing, True)
        return True

    def receive(self) -> Any:
        """Wait for the next value and return it.

        Raise `EOFError` if the other end is closed.
        """
        length = int.from_bytes(self._read(_LENGTH_BYTES))
        return pickle.loads(self._read(length))  # noqa: S301 - written by this program

    def close(self) -> None:
        """Close this end of both pipes; calls at the other end then raise errors."""
        os.close(self.reading)
        os.close(self.writing)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = os.read(self.reading, length - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def _framed(value: Any) -> memoryview:
    data = pickle.dumps(value)
    return memoryview(len(data).to_bytes(_LENGTH_BYTES) + data)


def open_message_pipe() -> tuple[PipeEnd, PipeEnd]:
    """Return two connected ends; programs started later do not inherit them."""
    first, second = os.pipe(), os.pipe()
    for pipe in (first, second):
        with suppress(OSError):  # the user's limit for pipe memory is reached
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return PipeEnd(first[0], second[1]), PipeEnd(second[0], first[1])


_AHEAD = 1  # units queued for a worker, so that the worker never waits for this process

U = TypeVar("U")
Emit = Callable[[Any], None]
Worker = Callable[[Iterator[U]], None]
WorkerFactory = Callable[[Emit], AbstractContextManager[Worker[U]]]


def run_in_processes(make: WorkerFactory[U], units: Iterable[U], workers: int) -> Iterator[Any]:
    """Work on units in forked processes; yield emitted values as they arrive.

    `make` is called in each process with a function that emits a value. The values are pickled.
    """
    rest = iter(units)
    pipes: list[PipeEnd] = []
    pids: list[int] = []
    try:
        for _ in range(workers):
            ours, theirs = open_message_pipe()
            pipes.append(ours)
            with closing(theirs):
                pid = fork()
                if not pid:
                    _child(make, theirs, pipes)
            pids.append(pid)
        working = {pipe.reading: pipe for pipe in pipes}
        sending = {pipe.writing: pipe for pipe in pipes}
        listening = select.poll()
        for number in working:
            listening.register(number, select.POLLIN)
        for pipe in pipes * _AHEAD:
            _hand_out(pipe, rest, listening)
        while working:
            for number, _ in listening.poll():
                if number in sending:
                    _send_more(sending[number], listening)
                    continue
                kind, value = _receive(working[number])
                if kind == "next":
                    _hand_out(working[number], rest, listening)
                elif kind == "end":
                    listening.unregister(number)
                    del working[number]
                elif kind == "raise":
                    raise value
                else:
                    yield value
    finally:
        for pipe in pipes:
            pipe.close()
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _hand_out(pipe: PipeEnd, rest: Iterator[U], listening: select.poll) -> None:
    # Do not wait until the worker receives the unit: the worker may be waiting until its own report
    # is read.
    pipe.post(next(rest, None))
    listening.register(pipe.writing, select.POLLOUT)


def _send_more(pipe: PipeEnd, listening: select.poll) -> None:
    with suppress(BrokenPipeError):  # the next `receive` from this worker reports that it ended
        if not pipe.try_to_send():
            return
    listening.unregister(pipe.writing)


def _receive(pipe: PipeEnd) -> tuple[str, Any]:
    try:
        kind, value = pipe.receive()
    except (EOFError, OSError):  # `OSError`: the worker ended within a message
        raise BackupError(
            "worker process of the restore: it was killed. Run the same command again."
        ) from None
    return kind, value


def _child(make: WorkerFactory[U], pipe: PipeEnd, others: list[PipeEnd]) -> None:
    """Work on units until none is left, then exit.

    The exit skips the clean-up handlers that the fork copied from the parent.
    """
    status = 1
    try:
        # The parent handles Ctrl-C and closes the pipe, which ends this process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for other in others:
            other.close()
        with make(lambda value: pipe.send(("report", value))) as work:
            work(_receive_units(pipe))
        pipe.send(("end", None))
        status = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent died, or ended the restore
    except BaseException as error:
        with suppress(OSError):
            pipe.send(("raise", _make_picklable(error)))
    finally:
        os._exit(status)


def _receive_units(pipe: PipeEnd) -> Iterator[Any]:
    while True:
        try:
            unit = pipe.receive()
            if unit is None:
                return
            pipe.send(("next", None))
        except OSError:
            raise EOFError from None  # an `OSError` would be mistaken for a problem with a file
        yield unit


def _make_picklable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - written by this program
    except Exception:
        return BackupError(
            f"worker process of the restore: unexpected {type(error).__name__}. Run it again."
        )
    return error
