"""Claim on one response: either the flow or its caller does the work.

A response executes the steps of one incident, in a Prefect flow if possible. If the flow does not
begin in time, its caller does the work, and a flow that begins later is rejected. A lock ensures
that only the flow or only its caller gets the claim. A flow is identified by the thread that calls
it and not by its incident, because a delayed flow may begin while a later call for the same
incident is in progress.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from standfast.errors import Unavailable


class ResponseClaim:
    """Decision whether a flow or its caller does the work; made once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_settled = False
        self._is_flow = False
        self._changed = threading.Event()
        self._ended = threading.Event()

    def begin(self) -> bool:
        """Claim the work for the flow; return False if the flow is too late."""
        with self._guard:
            if not self._is_settled:
                self._is_settled = self._is_flow = True
        self._changed.set()
        return self._is_flow

    def end(self) -> None:
        """Record that the flow has ended, with or without doing the work."""
        self._ended.set()
        self._changed.set()

    def belongs_to_flow(self, seconds: float) -> bool:
        """Wait for the flow to begin; return False if the caller must do the work."""
        self._changed.wait(seconds)
        with self._guard:
            self._is_settled = True
            return self._is_flow

    def wait(self) -> None:
        """Wait until the flow's work has ended."""
        self._ended.wait()


_call: ContextVar[ResponseClaim | None] = ContextVar("call", default=None)


@contextmanager
def calling_flow(claim: ResponseClaim) -> Iterator[None]:
    """Attach a claim to the flow that this block calls in this thread."""
    token = _call.set(claim)
    try:
        yield
    finally:
        _call.reset(token)


@contextmanager
def claimed_response(incident: str) -> Iterator[None]:
    """Begin the work of an incident's flow, or raise `Unavailable`.

    `Unavailable` means that the caller of the flow does the work already. If this process did not
    call the flow (`calling_flow`), nothing is claimed.
    """
    claim = _call.get()
    if claim is None:
        yield
        return
    if not claim.begin():
        raise Unavailable(f"{incident} continues without Prefect, which was too slow")
    try:
        yield
    finally:
        claim.end()
