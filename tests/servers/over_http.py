"""Base of imitated HTTP services: a handler and a serving thread.

- `Answering` reads a request's body and sends an answer, which each imitation defines.
- `listening(handler)` serves on a free port of loopback until the end of its block.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answering(BaseHTTPRequestHandler):
    """One connection of an imitation, which writes no log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise every answer in two parts waits 40 ms for an ACK

    def handle(self) -> None:
        """Answer requests until the client, which may be killed, is gone."""
        with suppress(ConnectionError):
            super().handle()

    def body(self) -> bytes:
        """Read the request's body; it is short if the connection was cut."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(
        self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send an answer, with its length."""
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve in a thread; yield the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
