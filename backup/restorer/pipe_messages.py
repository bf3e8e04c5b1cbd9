"""Values between two processes, through a pair of pipes: each arrives whole, or not at all.

What `multiprocessing` has for it takes 6 ms to import, a twentieth of the start of a restore.
"""

import fcntl
import os
import pickle
from contextlib import suppress
from typing import Any

_LENGTH_BYTES = 8
_PIPE_BYTES = 256 * 1024  # so that who sends what comes next does not wait for it to be read


class End:
    """One end: what the other end sends is received here, and the other way round."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading  # shows, by `select`, that there is something to receive
        self.writing = writing  # and here, that there is room to send
        self._posted = memoryview(b"")

    def send(self, value: Any) -> None:
        """Send a value that pickles; BrokenPipeError when the other end is closed."""
        rest = _framed(value)
        while rest:
            rest = rest[os.write(self.writing, rest) :]

    def post(self, value: Any) -> None:
        """Have a value sent without waiting for anybody: it goes by `has_sent_all`."""
        self._posted = memoryview(bytes(self._posted) + _framed(value))

    def has_sent_all(self) -> bool:
        """Send of what was posted as much as there is room for; BrokenPipeError as in `send`."""
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
        """Wait for a value; EOFError when the other end is closed."""
        length = int.from_bytes(self._read(_LENGTH_BYTES))
        return pickle.loads(self._read(length))  # noqa: S301 - our own

    def close(self) -> None:
        """Close it; the other end notices."""
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


def open_message_pipe() -> tuple[End, End]:
    """Make both ends; nothing that is started from here inherits them."""
    here, there = os.pipe(), os.pipe()
    for pipe in (here, there):
        with suppress(OSError):  # a user may have so much, and no more
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return End(here[0], there[1]), End(there[0], here[1])
