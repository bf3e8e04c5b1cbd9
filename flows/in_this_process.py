"""Calling the response's flow in this process, warm, and never waiting for Prefect.

Rules
- Prefect is asked first, for half a second; when it does not answer, the operation runs without.
- Prefect may die between that answer and the flow's first line: a flow that has not begun its work
  in time is given up for good, and the operation runs without it. Which of the two does the work is
  settled once, under a lock, so it is never both.
- When the work has ended, nobody waits for Prefect to be told: that may hang for over a minute.
- The ledger's runner row says which way it was: `prefect` or `serve`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import warm
from standfast.errors import Unavailable

BEGINS_WITHIN_SECONDS = 1.0


class Engagement:
    """One call of the flow: who does its work, and whether that has ended."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_settled = False
        self._is_flow = False
        self._stirred = threading.Event()
        self._ended = threading.Event()

    def begin(self) -> bool:
        """The flow asks to begin; False when it came too late."""
        with self._guard:
            if not self._is_settled:
                self._is_settled = self._is_flow = True
        self._stirred.set()
        return self._is_flow

    def end(self) -> None:
        """The flow's work, or the flow itself, has ended."""
        self._ended.set()
        self._stirred.set()

    def is_flows(self, seconds: float) -> bool:
        """Wait so long for the flow to begin; False means that it never will."""
        self._stirred.wait(seconds)
        with self._guard:
            self._is_settled = True
            return self._is_flow

    def wait(self) -> None:
        """Wait until the flow's work has ended."""
        self._ended.wait()


_engagements: dict[str, Engagement] = {}


@contextmanager
def engaged(incident: str) -> Iterator[None]:
    """Begin the work of an incident's flow; `Unavailable` when it was given up meanwhile.

    In a process that called no flow in place there is nothing to agree on.
    """
    engagement = _engagements.get(incident)
    if engagement is None:
        yield
        return
    if not engagement.begin():
        raise Unavailable(f"{incident} is carried on without Prefect, which was too slow")
    try:
        yield
    finally:
        engagement.end()


def carry_on(
    config: Path,
    incident: str,
    *,
    is_prefect_there: Callable[[], bool],
    without_prefect: Callable[[], object],
    begins_within_seconds: float = BEGINS_WITHIN_SECONDS,
) -> str:
    """Run the response's flow here and give its way, `prefect`; else do the work and give `serve`.

    One call an incident at a time. What the operation raises is raised here only in the second
    case; the flow's failure stands in Prefect, and in the ledger.
    """
    if is_prefect_there():
        engagement = _engagements[incident] = Engagement()
        thread = threading.Thread(
            target=_call, args=(config, incident, engagement), name=f"flow-{incident}", daemon=True
        )
        thread.start()
        try:
            if engagement.is_flows(begins_within_seconds):
                engagement.wait()
                return "prefect"
        finally:
            _engagements.pop(incident, None)
    without_prefect()
    return "serve"


def _call(config: Path, incident: str, engagement: Engagement) -> None:
    try:
        warm.respond(config, incident)
    except Exception:  # noqa: S110 - whatever Prefect raises, the caller finds no work begun
        pass
    finally:
        engagement.end()
