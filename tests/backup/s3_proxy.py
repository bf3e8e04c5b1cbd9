"""A proxy before a real S3 with the faults of networks and stores.

- A fault applies to requests of a method whose address contains a text, and to a number of them.
  Other requests pass unchanged, so signatures stay valid.
- The proxy does not wait, except between the bytes of a trickling body. It holds a request without
  an answer until the sender disconnects.
"""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from tests.servers.over_http import Answering, listening


class Fault(StrEnum):
    """Fault of a request; the first five may follow its execution."""

    LOST_ANSWER = "the request is carried out, and the connection is reset"
    NO_ANSWER = "the request is carried out, and nothing is said"
    CUT_ANSWER = "the answer's body is reset half way"
    TRICKLE = "the answer's body comes a few bytes at a time, until the reader gives up"
    FALSE_UNAVAILABLE = "the request is carried out, and 503 is said"
    RESET = "the connection is reset at once"
    DAMAGED_REQUEST = "a bit of what is sent is another one when it comes"
    CUT_REQUEST = "the connection is reset when half of what is sent has come"
    UNAVAILABLE = "503 Slow Down"
    BROKEN = "500 Internal Error"
    CONFLICT = "409, two conditional writes at once"
    GARBAGE = "what comes is not HTTP"
    STRANGERS_PAGE = "200, and a page of somebody else's"
    TORN_XML = "200, and half a document"
    REDIRECT = "307 to another host"
    TAKEN = "412"
    FORBIDDEN = "403"


_CARRIED_OUT = {
    Fault.LOST_ANSWER, Fault.NO_ANSWER, Fault.CUT_ANSWER, Fault.TRICKLE, Fault.FALSE_UNAVAILABLE,
}  # fmt: skip
_ERRORS = {
    Fault.UNAVAILABLE: (503, "SlowDown"),
    Fault.FALSE_UNAVAILABLE: (503, "ServiceUnavailable"),
    Fault.BROKEN: (500, "InternalError"),
    Fault.CONFLICT: (409, "ConditionalRequestConflict"),
    Fault.TAKEN: (412, "PreconditionFailed"),
    Fault.FORBIDDEN: (403, "AccessDenied"),
}
_PAGES = {
    Fault.STRANGERS_PAGE: b"<html><body>Sign in to this network</body></html>",
    Fault.TORN_XML: b'<?xml version="1.0"?><ListVersionsResult><Name>vau',
}
_TRICKLE_BYTES, _TRICKLE_SECONDS = 40, 0.1
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(kw_only=True)
class _Plan:
    fault: Fault
    method: str
    containing: str
    passes: int
    times: int


@dataclass(kw_only=True)
class Proxy:
    """The proxy's address, its faults and the received requests."""

    url: str = ""
    elsewhere: str = "http://127.0.0.1:9"  # where a redirect points
    requests: list[tuple[str, str]] = field(default_factory=list)
    # Headers of the requests, in lower case.
    headers: list[dict[str, str]] = field(default_factory=list)
    happened: list[Fault] = field(default_factory=list)
    _plans: list[_Plan] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def will(
        self,
        fault: Fault,
        method: str = "",
        containing: str = "",
        *,
        after: int = 0,
        times: int = 1,
    ) -> None:
        """Apply the fault to some matching requests, after others have passed."""
        plan = _Plan(fault=fault, method=method, containing=containing, passes=after, times=times)
        with self._lock:
            self._plans.append(plan)

    def heal(self) -> None:
        """End all faults."""
        with self._lock:
            self._plans.clear()

    def count(self, method: str) -> int:
        """Return the number of requests of a method."""
        return sum(one == method for one, _ in self.requests)

    def next_fault(self, method: str, path: str) -> Fault | None:
        """Record a request and return its fault, if any."""
        with self._lock:
            self.requests.append((method, path))
            for plan in self._plans:
                if plan.method not in ("", method) or plan.containing not in path:
                    continue
                if plan.passes:
                    plan.passes -= 1
                elif plan.times:
                    plan.times -= 1
                    self.happened.append(plan.fault)
                    return plan.fault
            return None


@contextmanager
def running_proxy(behind: str) -> Iterator[Proxy]:
    """Run a proxy before the S3 at an address."""
    proxy = Proxy()

    class Handler(_Handler):
        target = urlsplit(behind).netloc
        told = proxy

    with listening(Handler) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy


class _Handler(Answering):
    target: str
    told: Proxy

    def _pass_on(self) -> None:
        fault = self.told.next_fault(self.command, self.path)
        self.told.headers.append({name.lower(): text for name, text in self.headers.items()})
        if fault is Fault.CUT_REQUEST:
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self.close_connection = True
            self._reset()
            return
        body = self.body()
        if fault is Fault.DAMAGED_REQUEST and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault is None or fault is Fault.DAMAGED_REQUEST:
            self._answer(*self._ask(body))
            return
        self.close_connection = True
        answer = self._ask(body) if fault in _CARRIED_OUT else None
        if fault is Fault.NO_ANSWER:
            with suppress(OSError):
                self.connection.recv(1)
        elif fault is Fault.CUT_ANSWER and answer is not None:
            self._answer(*answer, most=len(answer[2]) // 2)
            self._reset()
        elif fault is Fault.TRICKLE and answer is not None:
            self._answer(*answer, most=0)
            with suppress(OSError):
                for begin in range(0, len(answer[2]), _TRICKLE_BYTES):
                    self.wfile.write(answer[2][begin : begin + _TRICKLE_BYTES])
                    self.wfile.flush()
                    time.sleep(_TRICKLE_SECONDS)
        elif fault is Fault.GARBAGE:
            self.wfile.write(b"\x00\xff\x16SSH-2.0-what\r\n\r\n")
        elif fault is Fault.REDIRECT:
            location = [("Location", self.told.elsewhere), ("x-amz-bucket-region", "eu-west-9")]
            self._answer(307, location, b"")
        elif fault in _PAGES:
            self._answer(200, [("Content-Type", "text/html")], _PAGES[fault])
        elif fault in _ERRORS:
            status, code = _ERRORS[fault]
            page = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], page)
        else:
            self._reset()

    do_GET = do_PUT = do_POST = do_DELETE = _pass_on

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=30)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, most: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body if most is None else body[:most])
        self.wfile.flush()

    def _reset(self) -> None:
        linger_for_nothing = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_nothing)
        self.connection.close()
