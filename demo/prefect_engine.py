"""Engine of the tour: Prefect flows, called in this process.

A Prefect flow is a function whose runs a Prefect server records, here a backup, a drill or the
response to an incident.

Rules
- The Prefect server starts in the background, while the contact centre is created.
- The server ends with the tour: no command on the installation needs it later.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from flows import flow_calls, prefect_server
from flows.error_boundary import FlowFailed
from flows.prefect_server import PrefectServer
from standfast.config import load
from standfast.errors import StandfastError


class Engine:
    """A runner of one flow at a time on one installation."""

    def __init__(self, config_file: Path) -> None:
        self._config_file = config_file
        self._home = load(config_file).serve.prefect_home
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefect")
        self._server: Future[PrefectServer] = self._pool.submit(self._start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()  # ends the start of the server, if the tour ends during it
        self._pool.shutdown()
        if self._server.exception() is None:
            flow_calls.hand_over()
            prefect_server.stop(self._server.result().pid)

    def wait(self) -> PrefectServer:
        """Wait until Prefect responds; return its server, or raise `Unavailable`."""
        return self._server.result()

    def back_up(self, set_name: str) -> None:
        """Run the flow of a nightly backup."""
        with self._flow():
            flow_calls.back_up(self._config_file, set_name)

    def drill(self, set_name: str) -> None:
        """Run the flow of a restore drill that compares data with the source."""
        with self._flow():
            flow_calls.drill(self._config_file, set_name, compares=True)

    def respond(self, incident_id: str) -> None:
        """Run the flow of the response to an incident."""
        with self._flow():
            flow_calls.respond(self._config_file, incident_id)

    @contextmanager
    def _flow(self) -> Iterator[None]:
        self.wait()
        try:
            yield
        except FlowFailed as error:
            raise StandfastError(str(error)) from None

    def _start(self) -> PrefectServer:
        server = prefect_server.start(self._home, os.environ, is_given_up=self._is_over.is_set)
        flow_calls.use_server(server, self._home)
        flow_calls.load()
        return server
