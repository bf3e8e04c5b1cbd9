"""The server: uvicorn in a thread of `serve`, begun and ended with it.

Rules
- An address that is taken, or a server that broke, is said once and tried again: a port is no
  reason for `serve` to do without its loop.
- uvicorn's own log stays silent, since it quotes what it could not read.
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
    """One address that is listened on, for as long as `serve` lives."""

    app: App
    host: str
    port: int  # 0: any that is free; `port` then has it once it listens
    is_listening: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _server: uvicorn.Server | None = None
    _trouble: str = ""

    def begin(self) -> None:
        """Listen in the background; gives back at once."""
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logger = logging.getLogger(name)
            logger.addHandler(logging.NullHandler())
            logger.propagate = False
        self._thread = threading.Thread(target=self._keep, name="http", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Close, giving answers that are under way a moment."""
        self._stop.set()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_END_SECONDS + 1)
        self.app.close()

    def _keep(self) -> None:
        with suppress(Exception):  # what is wrong shows when a message comes
            self.app.warm()
        pause = _FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                with self._bound() as listening:
                    self.port = listening.getsockname()[1]
                    self._serve(listening)
                pause = _FIRST_PAUSE_SECONDS
            except OSError as error:
                self._tell_once(f"{self.host} port {self.port}: {error.strerror}; serve.port")
            except (Exception, SystemExit) as error:
                self._tell_once(f"the HTTP server ended: unexpected {type(error).__name__}")
            finally:
                self.is_listening.clear()
            self._stop.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _bound(self) -> socket.socket:
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

    def _tell_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("nothing is listened on: %s", trouble)
        self._trouble = trouble
