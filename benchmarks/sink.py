"""Mail server in its own process that records every recipient."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measure import expect
from tests.servers import free_port

_SECONDS = 30


class Sink:
    """The running server, seen from here."""

    def __init__(self, port: int, line: Connection[Any, Any]) -> None:
        self.port = port
        self._line = line

    def take(self) -> list[str]:
        """Return and remove the recipients since the last call, in order."""
        self._line.send("take")
        expect(self._line.poll(_SECONDS), "the mail server answers")
        taken: list[str] = self._line.recv()
        return taken


@contextmanager
def running_sink() -> Iterator[Sink]:
    """Start it on a free port; it ends with the block."""
    # In its own process: server and client would otherwise share one interpreter lock.
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    port = free_port()
    process = context.Process(target=_serve, args=(port, far), daemon=True)
    process.start()
    far.close()
    try:
        expect(near.poll(_SECONDS) and near.recv() == "ready", "the mail server starts")
        yield Sink(port, near)
    finally:
        near.close()  # the closed input ends the other process
        process.join(_SECONDS)
        process.terminate()


class _Mailbox:
    """Handler for aiosmtpd that keeps the recipients of whole mails."""

    def __init__(self) -> None:
        self.recipients: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.recipients += envelope.rcpt_tos
        return "250 OK"


def _serve(port: int, line: Connection[Any, Any]) -> None:
    from aiosmtpd.controller import Controller

    mailbox = _Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, ready_timeout=_SECONDS)
    controller.start()
    try:
        line.send("ready")
        while line.recv() == "take":
            taken, mailbox.recipients = mailbox.recipients, []
            line.send(taken)
    except EOFError:
        pass
    finally:
        controller.stop()
