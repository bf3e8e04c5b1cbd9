"""How the tour talks: chapters, what a person would type, what came of it, and that it is alive.

Rules
- Short lines; a number stands where a number says more than a word.
- On a terminal, long work shows how far it is and for how long; elsewhere each piece is one line.
- With `--json` nothing of it is on standard output.
- A stream that takes no more ends the tour, which is there to be watched.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from standfast.errors import StandfastError

Counted = Callable[[], tuple[int, int]]  # how much is done, how much there is; 0 of 0 is not known
_TICK_SECONDS = 0.2
_LOST = (
    "the tour, which cannot be told, is ended; make room there or send it elsewhere, then begin it "
    "anew with --again"
)
_CLEAR = "\r\x1b[K"


@dataclass(frozen=True, kw_only=True)
class Told:
    """One chapter, and how long it took."""

    title: str
    seconds: float


@dataclass(kw_only=True)
class TourOutput:
    """Tells the story on one stream."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    chapters: list[Told] = field(default_factory=list)

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """Head a chapter; its time is noted when it ended well."""
        self._print("")
        self._print(f"{len(self.chapters) + 1}. {title}")
        began = time.monotonic()
        yield
        self.chapters.append(Told(title=title, seconds=time.monotonic() - began))

    def types(self, command: str) -> None:
        """Show a command as a person would type it."""
        self._print(f"   $ {command}")

    def says(self, line: str) -> None:
        """Say one thing."""
        self._print(f"   {line}" if line else "")

    @contextmanager
    def working(self, what: str, counted: Counted | None = None) -> Iterator[None]:
        """Show on a terminal that `what` goes on; `counted` is asked how far it is."""
        if not self.out.isatty():
            yield
            return
        is_over = threading.Event()
        began = time.monotonic()

        def show() -> None:
            while not is_over.wait(_TICK_SECONDS):
                done, total = counted() if counted else (0, 0)
                far = f" {done:,} of {total:,}" if total else ""
                self.out.write(f"{_CLEAR}   … {what}{far}, {time.monotonic() - began:.0f} s")
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
    """Print at once; where that is not possible, raise StandfastError with why and what is `lost`.

    Whoever read us and has enough is a BrokenPipeError.
    """
    try:
        print(text, file=out, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StandfastError(f"the output takes no more ({error.strerror}): {lost}") from None
