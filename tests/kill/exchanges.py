"""Exchanges of `serve` and Prefect, and the server's death at one of them.

The only address of the server that a `serve` knows is a proxy on loopback, so every exchange passes
it. An exchange is a request and its answer. It is named by its method, its path without ids, the
call of the flow that it belongs to, and its number among the exchanges of its kind in that call, as
`call 2: POST /flow_runs/{id}/set_state 1`. Log lines and events belong to no call, and their number
is random, so they are named without a number.

At the chosen exchange, the server is killed by SIGKILL. Each connection of a client ends, and
nothing listens until the server is started again.
"""

import contextlib
import http.client
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.servers.over_http import Answering
from tests.servers.prefect import Prefect

CALL_HEADER = "X-Call"  # the incident, and the number of the call about it
_PROBE = "GET /health"  # a serve sends it before each call, to see whether Prefect is reachable
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_ONE_CONNECTION = frozenset({"connection", "transfer-encoding", "content-length"})
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_CONTROL = 8  # the lowest type of a WebSocket frame without data: ping, pong, close
_POLL_SECONDS = 0.02


class Moment(StrEnum):
    BEFORE = "before"  # the server did not receive the request
    ANSWER_LOST = "its answer lost"  # the server executed the request, and its answer is lost


@dataclass
class Script:
    """The exchanges of one incident in order, and the server's deaths."""

    asked: frozenset[str] = frozenset()
    moment: Moment = Moment.BEFORE
    earlier: frozenset[str] = frozenset()  # earlier incidents; their flows may still send requests
    calls: int = 0
    trace: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)  # points at which the server has died
    _taken: set[str] = field(default_factory=set)
    _heard_of: set[str] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def name(self, request: str, call: str | None = None) -> str:
        """Name an exchange at its start; `call` is the flow's own description."""
        with self._guard:
            point = self._named(request, call)
            if point not in self.trace:
                self.trace.append(point)
            return point

    def is_here(self, point: str, moment: Moment) -> bool:
        """Return whether the server must die now."""
        with self._guard:
            is_now = moment is self.moment and point in self.asked - self._taken
            self._taken |= {point} if is_now else set()
            return is_now

    @property
    def heard_of(self) -> frozenset[str]:
        """Return the incidents up to this one."""
        return self.earlier | self._heard_of

    @property
    def is_over_so_far(self) -> bool:
        """Return whether the server died at each of its points in begun calls."""
        begun = tuple(f"call {number}:" for number in range(1, self.calls + 1))
        return all(point in self.done for point in self.asked if point.startswith(begun))

    def _named(self, request: str, call: str | None) -> str:
        if call is None and request != _PROBE:
            return request
        if call is None:
            self.calls += 1
            number = str(self.calls)
        else:
            incident, number = call.split()
            if incident in self.earlier:
                return f"an earlier incident's {request}"
            self._heard_of.add(incident)
        label = f"call {number}: {request}"
        self._counts[label] += 1
        return f"{label} {self._counts[label]}"


class Proxy:
    """The way to a server; it is closed while the server is dead."""

    def __init__(self, prefect: Prefect) -> None:
        self.prefect = prefect
        self.script = Script()
        self.is_down = threading.Event()
        self._clients: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._dying = threading.Lock()
        self._listener = _Listener(self, 0)
        self.port: int = self._listener.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def follow(self, asked: frozenset[str], moment: Moment) -> Script:
        """Begin the script of another incident."""
        self.script = Script(asked=asked, moment=moment, earlier=self.script.heard_of)
        return self.script

    def kill(self) -> None:
        """Kill the server; one kill serves all clients with requests now."""
        with self._dying:
            if not self.is_down.is_set():
                self.prefect.kill()
                self.close()
                self.is_down.set()

    def start_again(self) -> None:
        """Start the server, and make it reachable at its earlier address."""
        self.prefect.start()
        self._listener = _Listener(self, self.port)
        self.is_down.clear()

    def close(self) -> None:
        """Stop listening, and end the open connections."""
        self._listener.shutdown()
        self._listener.server_close()
        with self._guard:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def client(self, connection: socket.socket) -> Iterator[None]:
        """Register a connection of a client while the block runs."""
        with self._guard:
            self._clients.add(connection)
        try:
            yield
        finally:
            with self._guard:
                self._clients.discard(connection)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", port), _Connection)
        threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the tests cut connections on purpose."""


class _Connection(Answering):
    server: _Listener

    def handle(self) -> None:
        with self.server.proxy.client(self.connection):
            super().handle()

    def pass_on(self) -> None:
        """Forward one exchange, unless the server dies during it."""
        path = _ID.sub("{id}", urlsplit(self.path).path.removeprefix("/api"))
        # Keep the script: another incident may have begun when the answer arrives.
        script = self.server.proxy.script
        point = script.name(f"{self.command} {path}", self.headers.get(CALL_HEADER))
        try:
            request = self.body()
            self._die_at(script, point, Moment.BEFORE)
            if self.headers.get("Upgrade"):
                self._pass_stream_on(script, point)
                self.close_connection = True
            else:
                status, headers, answer = self._ask(request)
                self._die_at(script, point, Moment.ANSWER_LOST)
                self._answer(status, headers, answer)
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = pass_on

    def _die_at(self, script: Script, point: str, moment: Moment) -> None:
        if script.is_here(point, moment):
            self.server.proxy.kill()
            script.done.add(point)
            raise ConnectionResetError

    def _ask(self, request: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self.server.proxy.prefect.port)
        with contextlib.closing(server):
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    server.putheader(name, value)
            server.endheaders(request or None)
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], answer: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
        if status not in _WITHOUT_BODY:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _pass_stream_on(self, script: Script, point: str) -> None:
        """Forward a WebSocket: its opening and later messages are exchanges."""
        with socket.create_connection(("127.0.0.1", self.server.proxy.prefect.port)) as server:
            lines = [self.requestline, *(f"{name}: {is_}" for name, is_ in self.headers.items())]
            server.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            opened = server.recv(65536)
            self._die_at(script, point, Moment.ANSWER_LOST)
            self.connection.sendall(opened)
            threading.Thread(target=_pass_all, args=(server, self.connection), daemon=True).start()
            while frames := self.connection.recv(65536):
                if frames[0] & 0x0F < _CONTROL:
                    sent = self.server.proxy.script.name("an event")
                    self._die_at(self.server.proxy.script, sent, Moment.BEFORE)
                server.sendall(frames)


def _pass_all(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def running_proxy(prefect: Prefect) -> Iterator[Proxy]:
    """Run a proxy before a running server."""
    proxy = Proxy(prefect)
    try:
        yield proxy
    finally:
        proxy.close()
