"""Output of the tour: chapters, commands, results and progress.

Rules
- Lines are short, and state numbers where possible.
- On a terminal, long work shows its progress and its duration while it runs.
- With `--json` none of these lines is on standard output.
- If the stream accepts no more output, the tour ends, because nobody can watch it.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from standfast.errors import StandfastError

Counted = Callable[[], tuple[int, int]]  # (done, total), or (0, 0) if both are unknown
_TICK_SECONDS = 0.2
_LOST = (
    "the demo was ended. Free space on that disk, or redirect the output, then start again with "
    "--again"
)
_CLEAR = "\r\x1b[K"


@dataclass(frozen=True, kw_only=True)
class FinishedChapter:
    """A finished chapter and its duration in seconds."""

    title: str
    seconds: float


@dataclass(kw_only=True)
class TourOutput:
    """The printer of the tour, on one stream."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    chapters: list[FinishedChapter] = field(default_factory=list)

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """Print the title of a chapter; record its duration if it succeeds."""
        self._print("")
        self._print(f"{len(self.chapters) + 1}. {title}")
        began = time.monotonic()
        yield
        self.chapters.append(FinishedChapter(title=title, seconds=time.monotonic() - began))

    def print_command(self, command: str) -> None:
        """Print a command as a person would type it."""
        self._print(f"   $ {command}")

    def print_line(self, line: str) -> None:
        """Print one line."""
        self._print(f"   {line}" if line else "")

    @contextmanager
    def show_progress(self, title: str, counted: Counted | None = None) -> Iterator[None]:
        """Show running work on a terminal; `counted` returns its progress."""
        if not self.out.isatty():
            yield
            return
        is_over = threading.Event()
        began = time.monotonic()

        def show() -> None:
            while not is_over.wait(_TICK_SECONDS):
                done, total = counted() if counted else (0, 0)
                far = f" {done:,} of {total:,}" if total else ""
                self.out.write(f"{_CLEAR}   … {title}{far}, {time.monotonic() - began:.0f} s")
                self.out.flush()

        shower = threading.Thread(target=show, name="progress", daemon=True)
        shower.start()
        try:
            yield
        finally:
            is_over.set()
            shower.join()
            self.out.write(_CLEAR)
            self.out.flush()

    def _print(self, line: str) -> None:
        tell(line, self.out, _LOST)


def tell(text: str, out: TextIO, lost: str) -> None:
    """Print a text without buffering; raise StandfastError if this fails.

    The message of the error states the cause, then `lost`. Raise BrokenPipeError if the reader has
    closed the pipe.
    """
    try:
        print(text, file=out, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StandfastError(f"the output cannot be written ({error.strerror}); {lost}") from None
