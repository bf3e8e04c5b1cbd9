"""Who answers the commands of this machine: opens what they want, and has it begun at once.

What is said stands in `standfast/usecases/incidents/control_socket_client.py`.

Rules
- Only the user whom `serve` runs as, and root, are answered; the socket is closed to others, and
  the kernel says who speaks.
- What cannot be opened is not explained here: the command tries it itself and says why.
- A command that falls silent holds one of few threads for a moment and nothing else.
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
    line_of,
    socket_of,
    wanted_of,
)
from standfast.usecases.incidents.lifecycle import open_incident

log = logging.getLogger("standfast.serve")

_WORKERS = 4
_MOST_WAITING = 16
_SPEAKS_WITHIN_SECONDS = 2.0
_PAUSE_SECONDS = 0.2  # before the door is tried again that could not be opened
_ROOT = 0
_PEER = struct.Struct("3i")  # process, user, group


@dataclass(kw_only=True)
class ControlSocketServer:
    """The door of one `serve`; `begin_work` is called with each incident that it opened."""

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
        """Answer in the background; commands do without where no socket can be made."""
        try:
            self._listening = self._bound()
        except OSError as error:
            log.warning("commands open incidents themselves: %s: %s", self.home, error.strerror)
            return
        threading.Thread(
            target=self._keep, args=(self._listening,), name="door", daemon=True
        ).start()

    def end(self) -> None:
        """Answer nobody any more."""
        self._has_ended.set()
        if self._listening is not None:
            with suppress(OSError):
                socket_of(self.home).unlink()
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # wakes who waits in `accept`
            self._listening.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _bound(self) -> socket.socket:
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path = socket_of(self.home)
            path.unlink(missing_ok=True)  # of a `serve` that was killed; only one runs here
            with address(self.home) as where:
                door.bind(where)
            path.chmod(0o600)  # before anybody can be let in
            door.listen(_MOST_WAITING)
        except OSError:
            door.close()
            raise
        return door

    def _keep(self, listening: socket.socket) -> None:
        while True:
            try:
                door, _ = listening.accept()
            except OSError:
                if self._has_ended.wait(_PAUSE_SECONDS):
                    return
                continue  # too many open files, say: it passes
            with suppress(RuntimeError):  # it ends at this moment
                self._pool.submit(self._answer, door)

    def _answer(self, door: socket.socket) -> None:
        with door:
            try:
                answer = self._opened(door)
            except (OSError, ValueError, StandfastError) as error:
                # Not in words: what it names may be an account. The command finds it out itself.
                log.info("a command is left to itself: %s", type(error).__name__)
            except Exception as error:
                log.warning("a command is left to itself: unexpected %s", type(error).__name__)
            else:
                with suppress(OSError):
                    door.sendall(answer)

    def _opened(self, door: socket.socket) -> bytes:
        _refuse_strangers(door)
        wanted = wanted_of(line_of(door, time.monotonic() + _SPEAKS_WITHIN_SECONDS))
        if wanted.configuration != self.installation.config.fingerprint:
            raise ValueError("another configuration than the one that is served")
        opened = open_incident(
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


def _refuse_strangers(door: socket.socket) -> None:
    peer = door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(peer)
    if user not in (_ROOT, os.geteuid()):
        raise PermissionError("a stranger")
