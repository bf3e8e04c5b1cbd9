"""Prefect server that restarts within a second after `kill -9`.

It is the application that `prefect server start` serves, in a process of its own, with one database
and one port. A start neither imports nor builds the application: it is forked from a process that
has already done both.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.prefect_server import environment, is_healthy
from tests.servers import answers, free_port, wait_until

STARTS_WITHIN_SECONDS = 240  # for a busy machine; the first start makes the database
_SEED = """
import ctypes, os, signal, sys
import uvicorn
from prefect.server.api.server import create_app

log, port = sys.argv[1:]
application = create_app(final=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps killed children
print("ready", flush=True)
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no server outlives a test
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        try:
            uvicorn.run(application, host="127.0.0.1", port=int(port), timeout_keep_alive=5)
        finally:
            os._exit(1)
    print(pid, flush=True)
"""


class Prefect:
    """A server that may be killed and started again, at one address."""

    def __init__(self, home: Path, base: Mapping[str, str]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.log = home / "server.log"
        self._pid = 0
        self._seed = subprocess.Popen(
            [sys.executable, "-c", _SEED, str(self.log), str(self.port)],
            env=environment(home, self.url, base),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._said() == "ready"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        assert self._seed.stdin is not None
        self._seed.stdin.write("start\n")
        self._seed.stdin.flush()
        self._pid = int(self._said())
        wait_until(
            lambda: is_healthy(self.url, 5), "Prefect answers", seconds=STARTS_WITHIN_SECONDS
        )

    def kill(self) -> None:
        """Kill with `kill -9` and wait until the port is closed."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            wait_until(lambda: not answers(self.port), "Prefect is dead")
            self._pid = 0

    def end(self) -> None:
        """End all processes."""
        self.kill()
        self._seed.kill()
        self._seed.communicate()

    def _said(self) -> str:
        assert self._seed.stdout is not None
        return self._seed.stdout.readline().strip()


@contextmanager
def running_prefect(home: Path, base: Mapping[str, str]) -> Iterator[Prefect]:
    """Run a server with its own home; `base` is its first environment."""
    prefect = Prefect(home, base)
    try:
        prefect.start()
        yield prefect
    finally:
        prefect.end()
