"""Imitation of a server in its own process, and the connection to it.

If server and client were in one process, they would share one interpreter lock.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measure import expect


class ImitationConnection:
    """The connection to an imitation, which answers one request after another."""

    def __init__(self, name: str, connection: Connection[Any, Any], seconds: float) -> None:
        self._name, self._connection, self._seconds = name, connection, seconds

    def ask(self, request: object) -> Any:
        """Send a request, and return its answer."""
        self._connection.send(request)
        return self.receive("answers")

    def receive(self, expected: str) -> Any:
        """Return the next message; raise Wrong if none arrives in time."""
        expect(self._connection.poll(self._seconds), f"{self._name} {expected}")
        return self._connection.recv()


@contextmanager
def running_imitation(
    name: str, serve: Callable[..., None], *arguments: object, seconds: float
) -> Iterator[tuple[ImitationConnection, Any]]:
    """Run `serve(*arguments, connection)`; yield the connection to it.

    The first message of `serve` is yielded too. `serve` ends when the closed connection raises
    EOFError. The start, each answer and the end may each take `seconds`.
    """
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=serve, args=(*arguments, far), daemon=True)
    process.start()
    far.close()
    try:
        line = ImitationConnection(name, near, seconds)
        yield line, line.receive("starts")
    finally:
        near.close()
        process.join(seconds)
        process.terminate()
