"""HTTP server: uvicorn in a thread of `serve`, started again if it fails.

Rules
- If the port is in use or the server fails, the error is logged once and the start is retried; the
  loop of `serve` continues without HTTP.
- uvicorn's own log is disabled, because it quotes input.
"""

import logging
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

import uvicorn

from standfast.console.application import App
from standfast.console.http.connection_limits import (
    MOST_CONNECTIONS,
    BoundedConnection,
    bound_answers,
)

log = logging.getLogger("standfast.serve")

_LARGEST_HEADERS_BYTES = 16 * 1024
_KEEP_ALIVE_SECONDS = 5
_END_SECONDS = 2
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(kw_only=True)
class HttpServer:
    """The HTTP server on one address, while `serve` runs."""

    app: App
    host: str
    port: int  # 0 for any free port; once listening, the actual port
    is_listening: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _server: uvicorn.Server | None = None
    _trouble: str = ""

    def begin(self) -> None:
        """Start listening in the background; return at once."""
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logger = logging.getLogger(name)
            logger.addHandler(logging.NullHandler())
            logger.propagate = False
        self._thread = threading.Thread(target=self._serve_until_end, name="http", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Close the server after a short time for running responses."""
        self._stop.set()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_END_SECONDS + 1)
        self.app.close()

    def _serve_until_end(self) -> None:
        with suppress(Exception):  # the first trigger message causes and reports the same error
            self.app.warm()
        pause = _FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                with self._bind() as listening:
                    self.port = listening.getsockname()[1]
                    self._serve(listening)
                pause = _FIRST_PAUSE_SECONDS
            except OSError as error:
                self._log_once(f"{self.host} port {self.port}: {error.strerror}; serve.port")
            except (Exception, SystemExit) as error:
                self._log_once(f"the HTTP server ended: unexpected {type(error).__name__}")
            finally:
                self.is_listening.clear()
            self._stop.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.create_server(
            (self.host, self.port), family=family, backlog=MOST_CONNECTIONS, reuse_port=False
        )
        bound_answers(listening)
        return listening

    def _serve(self, listening: socket.socket) -> None:
        config = uvicorn.Config(
            self.app.asgi(),
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_END_SECONDS,
            h11_max_incomplete_event_size=_LARGEST_HEADERS_BYTES,
        )
        self._server = uvicorn.Server(config)
        log.info("listening on %s port %d", self.host, self.port)
        self._trouble = ""
        self.is_listening.set()
        if not self._stop.is_set():
            self._server.run(sockets=[listening])

    def _log_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("HTTP is unavailable: %s", trouble)
        self._trouble = trouble
