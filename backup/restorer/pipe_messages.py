"""Messages between a restore's main process and its workers, in pipes.

The main process queues a message with `post`, which never waits. The pipes of `multiprocessing` can
wait: a worker waits until the main process reads its report. If the main process waited for this
worker at the same time, both would wait forever.
"""

import fcntl
import os
import pickle
from contextlib import suppress
from typing import Any

_LENGTH_BYTES = 8
_PIPE_BYTES = 256 * 1024  # so that a sender need not wait for the receiver


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
        with suppress(OSError):  # over the user's limit for pipe memory
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return PipeEnd(first[0], second[1]), PipeEnd(second[0], first[1])
