"""Who does the work of one call of the response's flow: the flow, or its caller without Prefect.

It is settled once, under a lock: a flow that begins too late is turned away, so it is never both.
A flow knows its call by the thread that both run in, and not by its incident: one that Prefect held
up may come while a later call about the same incident is under way.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from standfast.errors import Unavailable


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


_call: ContextVar[Engagement | None] = ContextVar("call", default=None)


@contextmanager
def called(engagement: Engagement) -> Iterator[None]:
    """Let the flow that this block calls, in this thread, be the one of this engagement."""
    token = _call.set(engagement)
    try:
        yield
    finally:
        _call.reset(token)


@contextmanager
def engaged(incident: str) -> Iterator[None]:
    """Begin the work of an incident's flow; `Unavailable` when it was given up meanwhile.

    In a process that called no flow in place there is nothing to agree on.
    """
    engagement = _call.get()
    if engagement is None:
        yield
        return
    if not engagement.begin():
        raise Unavailable(f"{incident} is carried on without Prefect, which was too slow")
    try:
        yield
    finally:
        engagement.end()
