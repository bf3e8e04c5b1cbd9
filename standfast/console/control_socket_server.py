"""Control socket server: opens incidents at once for local commands.

A command asks the running `standfast serve` to open its incident, because `serve` has loaded the
ledger (the database) already. The protocol is in
`standfast/usecases/incidents/control_socket_client.py`.

Rules
- Only root and the user of `serve` receive an answer: other users cannot open the socket, and the
  kernel reports the user of each client.
- No error text is returned. After an error of the server, the command opens the incident itself,
  and reports the error if this fails too.
- A client that sends nothing blocks only one of a few threads, for two seconds.
"""

import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from standfast.errors import StandfastError
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.control_socket_client import (
    SOURCE,
    address,
    parse_request,
    read_line,
    socket_of,
)
from standfast.usecases.incidents.repeated_opening import open_or_continue

log = logging.getLogger("standfast.serve")

_WORKERS = 4
_MOST_WAITING = 16
_REQUEST_SECONDS = 2.0
_PAUSE_SECONDS = 0.2  # before `accept` is tried again after an error
_ROOT = 0
_PEER = struct.Struct("3i")  # process, user, group


@dataclass(kw_only=True)
class ControlSocketServer:
    """The control socket of one `standfast serve`.

    `begin_work` is called with each opened incident.
    """

    installation: Installation
    begin_work: Callable[[str], None]
    _listening: socket.socket | None = None
    _has_ended: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_WORKERS, thread_name_prefix="door")
    )

    @property
    def home(self) -> Path:
        return self.installation.config.serve.prefect_home

    def begin(self) -> None:
        """Start answering.

        If the socket cannot be created, log the error: commands then open incidents themselves.
        """
        try:
            self._listening = self._bind()
        except OSError as error:
            log.warning(
                "no control socket, so commands open incidents themselves: %s: %s",
                self.home,
                error.strerror,
            )
            return
        threading.Thread(
            target=self._accept_all, args=(self._listening,), name="door", daemon=True
        ).start()

    def end(self) -> None:
        """Stop answering."""
        self._has_ended.set()
        if self._listening is not None:
            with suppress(OSError):
                socket_of(self.home).unlink()
            with suppress(OSError):
                self._listening.shutdown(
                    socket.SHUT_RDWR
                )  # ends the wait of the thread in `accept`
            self._listening.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _bind(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path = socket_of(self.home)
            path.unlink(missing_ok=True)  # left by a killed `serve`; no other `serve` runs here
            with address(self.home) as where:
                listener.bind(where)
            path.chmod(0o600)  # before the first connection
            listener.listen(_MOST_WAITING)
        except OSError:
            listener.close()
            raise
        return listener

    def _accept_all(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                if self._has_ended.wait(_PAUSE_SECONDS):
                    return
                continue  # a temporary error, such as too many open files
            with suppress(RuntimeError):  # the pool is shutting down
                self._pool.submit(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                answer = self._open_requested(connection)
            except (OSError, ValueError, StandfastError) as error:
                # The text is not logged, because it may name an account. The command opens the
                # incident itself, and reports an error.
                log.info("a command was not served: %s", type(error).__name__)
            except Exception as error:
                log.warning("a command was not served: unexpected %s", type(error).__name__)
            else:
                with suppress(OSError):
                    connection.sendall(answer)

    def _open_requested(self, connection: socket.socket) -> bytes:
        _refuse_strangers(connection)
        wanted = parse_request(read_line(connection, time.monotonic() + _REQUEST_SECONDS))
        if wanted.configuration != self.installation.config.fingerprint:
            raise ValueError("not the configuration of this server")
        opened = open_or_continue(
            replace(self.installation, actor=wanted.actor),
            wanted.scenario,
            wanted.inputs,
            mode=Mode(wanted.mode),
            message=TriggerMessage(source=SOURCE, handle=wanted.message),
        )
        log.info("a command: %s", opened.incident)
        if not opened.has_joined:
            self.begin_work(opened.incident)
        answer = {"incident": opened.incident, "has_joined": opened.has_joined}
        return json.dumps(answer).encode() + b"\n"


def _refuse_strangers(connection: socket.socket) -> None:
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(peer)
    if user not in (_ROOT, os.geteuid()):
        raise PermissionError("not this user")
