"""Limits of a log review in `serve`: size, seconds, their messages.

    limits = ReviewLimits(size_bytes=256 * 1024**2, seconds=30)
    limits.refuse_larger(incident, size_bytes)     # before a log is read
    clock = ReviewClock(incident, limits)
    stream = clock.timed(stream)                   # raises UsageError when the time is over
    for event in clock.checked(events): ...        # raises UsageError too

A review shows the records of logs that were collected as evidence.

Rules
- If a review exceeds a limit, it shows nothing, because a reader could take a part of the records
  for all of them.
"""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from standfast.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

_BUFFER_BYTES = 1024 * 1024
_MIB = 1024 * 1024
_COMMAND = "Run `standfast evidence review {incident} --html page.html` on this host."


@dataclass(frozen=True, kw_only=True)
class ReviewLimits:
    """The largest total size of the logs, and the longest time of a review."""

    size_bytes: int
    seconds: float

    def refuse_larger(self, incident: str, size_bytes: int) -> None:
        """Raise UsageError if the logs are larger than the limit."""
        if size_bytes > self.size_bytes:
            raise UsageError(
                f"logs of {incident}: they have {size_bytes / _MIB:,.0f} MiB, and this page reads "
                f"at most {self.size_bytes / _MIB:,.0f} MiB. {_COMMAND.format(incident=incident)}"
            )


class ReviewClock:
    """The remaining time of one review; infinite if there are no limits."""

    def __init__(self, incident: str, limits: ReviewLimits | None) -> None:
        self._incident, self._limits = incident, limits
        self._end = time.monotonic() + limits.seconds if limits else float("inf")

    def check(self) -> None:
        """Raise UsageError if the time is over."""
        if self._limits and time.monotonic() > self._end:
            raise UsageError(
                f"review of {self._incident}: it did not finish in {self._limits.seconds:g} s. "
                f"{_COMMAND.format(incident=self._incident)}"
            )

    def checked(self, values: Iterator[T]) -> Iterator[T]:
        """Return an iterator that checks the time before each value."""
        return values if self._limits is None else self._checked(values)

    def _checked(self, values: Iterator[T]) -> Iterator[T]:
        for value in values:
            self.check()
            yield value

    def timed(self, stream: BinaryIO) -> BinaryIO:
        """Return a stream that checks the time before each read."""
        if self._limits is None:
            return stream
        return cast("BinaryIO", io.BufferedReader(_Timed(stream, self), _BUFFER_BYTES))


class _Timed(io.RawIOBase):
    def __init__(self, stream: BinaryIO, clock: ReviewClock) -> None:
        self._stream, self._clock = stream, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        self._clock.check()
        view = memoryview(buffer).cast("B")
        block = self._stream.read(len(view))
        view[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()
