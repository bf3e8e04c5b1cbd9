"""A stateful imitation of Amazon SES's SendEmail (API v2), over real HTTP on loopback.

The SDK checks each call against AWS's own description before it is sent; here stands what SES does
with it.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(kw_only=True)
class Ses:
    """What was taken on, and what the next calls meet."""

    url: str = ""
    taken: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)  # by address
    account_error: tuple[int, str] | None = None
    silent: set[str] = field(default_factory=set)  # addresses taken on without an answer
    let_go: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def running_ses() -> Iterator[Ses]:
    """Run one on a free port."""
    account = Ses()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            error = account.account_error
            self._reply(200, {}) if error is None else self._fail(*error)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (address,) = body["Destination"]["ToAddresses"]
            error = account.account_error or account.errors.get(address)
            if error is not None:
                self._fail(*error)
                return
            with account.guard:
                account.taken.append(body)
            if address in account.silent:
                account.let_go.wait(20)
                self.close_connection = True
                return
            self._reply(200, {"MessageId": f"made-up-{len(account.taken)}"})

        def _fail(self, status: int, code: str) -> None:
            self._reply(status, {"message": "names somebody@customers.test"}, code)

        def _reply(self, status: int, body: Any, code: str = "") -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if code:
                self.send_header("x-amzn-ErrorType", code)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Keep the test's output to the test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    account.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield account
    finally:
        account.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def ses_server() -> Iterator[Ses]:
    """A fresh account that has taken nothing yet."""
    with running_ses() as account:
        yield account
