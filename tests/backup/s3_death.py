"""A relay before a real S3 that names requests and kills at one of them.

A request is a point: its method, its object, and how many of its kind came before. Names of packs,
versions and the repository's folder are left out, because they differ in each run.

- before: the request has arrived here, and the store receives nothing;
- during: half of its body has reached the store, or half of its head if it has no body;
- after: the store has answered, and the process does not receive the answer.

Later bytes of a dead process are dropped. A request on its way to the store is completed before
`relayed` returns.
"""

import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.backup.s3_proxy import _Handler
from tests.kill.tracing import ENDS_WITHIN_SECONDS, Death, Phase, own_process
from tests.servers import wait_until
from tests.servers.over_http import listening

_PACK = re.compile("[0-9a-f]{2}/[0-9a-f]{64}")


@dataclass(kw_only=True)
class _Relay:
    """The points in their order, and the point where the process dies."""

    below: str  # prefix of each address: the bucket and the folder in it
    death: Death | None
    points: list[str] = field(default_factory=list)
    process: int = 0
    # Set when the process is identified.
    begun: threading.Event = field(default_factory=threading.Event)
    under_way: int = 0
    _is_dead: bool = False
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def request(self, method: str, address: str) -> Iterator[str | None]:
        """Return a request in progress and its name; None if the process is dead."""
        with self._lock:
            point = None if self._is_dead else self._name(method, address)
            self.under_way += 1
        try:
            yield point
        finally:
            with self._lock:
                self.under_way -= 1

    def dies(self, point: str, phase: Phase) -> bool:
        """Kill the process if this is its point."""
        if self.death != Death(point, phase):
            return False
        with self._lock:
            self._is_dead = True
        assert self.begun.wait(ENDS_WITHIN_SECONDS)
        os.kill(self.process, signal.SIGKILL)
        return True

    def _name(self, method: str, address: str) -> str:
        url = urlsplit(address)
        bucket, folder = self.below.split("/", 1)
        about = [unquote(url.path).removeprefix(f"/{bucket}").removeprefix(f"/{folder}")]
        for name, text in parse_qsl(url.query, keep_blank_values=True):
            about.append(f"{name}={text.removeprefix(folder)}" if name == "prefix" else name)
        what = _PACK.sub("{pack}", f"{method} {' '.join(about)}")
        self._counts[what] += 1
        self.points.append(f"{what} {self._counts[what]}")
        return self.points[-1]


class _Relaying(_Handler):
    relay: _Relay

    def handle(self) -> None:
        with suppress(ConnectionError):  # the process is dead
            super().handle()

    def _pass_on(self) -> None:
        relay = self.relay
        self.close_connection = True
        with relay.request(self.command, self.path) as point:
            body = self.body()
            is_cut = len(body) < int(self.headers.get("Content-Length", 0))
            if is_cut or point is None or relay.dies(point, Phase.BEFORE):
                return
            if relay.death == Death(point, Phase.DURING):
                self._send_half(body)
                relay.dies(point, Phase.DURING)
                return
            answer = self._ask(body)
            if relay.dies(point, Phase.AFTER):
                return
        self.close_connection = False
        self._answer(*answer)

    def _send_half(self, body: bytes) -> None:
        lines = [self.requestline, *(f"{name}: {is_}" for name, is_ in self.headers.items())]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        host, port = self.target.split(":")
        with socket.create_connection((host, int(port))) as store:
            store.sendall(head + body[: len(body) // 2] if body else head[: len(head) // 2])
            store.shutdown(socket.SHUT_WR)
            while store.recv(65536):
                pass  # until the store has abandoned the request

    do_GET = do_PUT = do_DELETE = _pass_on


def relayed(
    run: Callable[..., None], *args: Any, behind: str, below: str, death: Death | None
) -> tuple[int, list[str]]:
    """Run `run(address, *args)` in a process; return exit code and points.

    `behind` is the address of the S3, `below` the bucket and the folder in it.
    """
    told = _Relay(below=below, death=death)

    class Handler(_Relaying):
        target = urlsplit(behind).netloc
        relay = told

    with listening(Handler) as port:
        process = own_process(run, f"http://127.0.0.1:{port}", *args)
        assert process.pid is not None
        told.process = process.pid
        told.begun.set()
        process.join(timeout=ENDS_WITHIN_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"{run.__name__} did not end within {ENDS_WITHIN_SECONDS} s")
        wait_until(lambda: not told.under_way, "the store has answered everything")
    return process.exitcode, told.points
