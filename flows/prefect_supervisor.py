"""Supervision of Prefect: start, restart, and backups without Prefect.

Rules
- The supervision runs in its own thread; the loop of `serve` only calls `is_available`, which
  queries the server for at most half a second.
- Prefect's server, or the process that runs flows, is restarted with growing delays if it died. The
  thread does nothing else: it runs no incident, and does not wait for flows.
- If Prefect does not start, a missed backup runs without Prefect, because a broken scheduler must
  not stop backups silently. It also does if Prefect runs but did not start the backup, because
  Prefect skips runs if the clock was ahead for a while.
- A missed backup is started once for each due time.
- A server that somebody else runs (`serve.prefect`) is used and never started or ended.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from flows import flow_calls, prefect_server
from flows.prefect_server import (
    SLOW_ANSWER_SECONDS,
    PrefectServer,
    environment,
    is_healthy,
)
from flows.roles import role_named
from standfast.errors import StandfastError

LOOK_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0
PATIENCE_SECONDS = 240.0  # then backups run without Prefect; its first start takes a minute
WARM_SECONDS = 30.0  # time limit of the first flow call; after it, the next call may be slow
_END_SECONDS = 2.0

log = logging.getLogger("standfast.serve")


@dataclass(kw_only=True)
class PrefectSupervisor:
    """Supervisor of the Prefect of one installation."""

    config_file: Path
    home: Path
    url: str | None  # address of an existing server; None: a server is started here
    env: Mapping[str, str]
    role_name: str | None = None  # role of this `serve` (`roles.py`)
    _server: PrefectServer | None = None
    _runner: subprocess.Popen[bytes] | None = None
    _backups: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _missed: Mapping[str, datetime] = field(default_factory=dict)  # at the last check
    _caught_up: dict[str, datetime] = field(
        default_factory=dict
    )  # due times of the backups that were started here
    _thread: threading.Thread | None = None
    _last_there: float = field(default_factory=time.monotonic)
    _is_warm: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Start in the background; return at once."""
        self._thread = threading.Thread(target=self._keep_running, name="prefect", daemon=True)
        self._thread.start()

    def is_available(self) -> bool:
        """Return whether a flow may be called in this process now."""
        server = self._server
        return self._is_warm and server is not None and is_healthy(server.url)

    def catch_up(self, missed: Mapping[str, datetime]) -> None:
        """Run missed nightly backups as processes; `missed` has their due times.

        If Prefect has been unavailable for `PATIENCE_SECONDS`, run all of them. If Prefect is
        available, run only the backups that were missed at the last check too. A failed run is not
        started again: it has already retried while the store was unavailable, and other failures
        need a person. If an earlier backup of the set is under way, the next check starts this one.
        """
        is_away = time.monotonic() - self._last_there >= PATIENCE_SECONDS
        before, self._missed = self._missed, missed
        for name, due in missed.items():
            is_left_out = before.get(name) == due
            is_started = self._caught_up.get(name) == due
            earlier = self._backups.get(name)
            is_under_way = earlier is not None and earlier.poll() is None
            if is_started or is_under_way or not (is_away or is_left_out):
                continue
            why = "is unavailable" if is_away else "did not run it"
            log.warning("Prefect %s: the backup of %s runs without it", why, name)
            self._backups[name] = self._child("flows.standalone_backup", name)
            self._caught_up[name] = due

    def end(self) -> None:
        """End everything that was started here."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)
        children = [self._runner, *self._backups.values()]
        left = [child for child in children if child is not None and child.poll() is None]
        pids = [child.pid for child in left]
        if self._server is not None and self._server.pid:
            pids.append(self._server.pid)
        prefect_server.stop(*pids)
        for child in left:
            child.wait()

    def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                if not self._is_running():
                    self._start()
                    pause = _FIRST_PAUSE_SECONDS
                self._stop.wait(LOOK_SECONDS)
            except Exception as error:
                if not self._stop.is_set():
                    log.warning("Prefect: %s", self._why(error))
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _why(self, error: Exception) -> str:
        """Return why Prefect does not start; for other errors, only the class."""
        if isinstance(error, StandfastError):
            return str(error)
        if isinstance(error, OSError) and error.strerror:
            return f"{self.home}: {error.strerror}; incidents run without it"
        return type(error).__name__

    def _is_running(self) -> bool:
        has_runner = not role_named(self.role_name).is_scheduled or (
            self._runner is not None and self._runner.poll() is None
        )
        is_up = (
            has_runner
            and self._server is not None
            and is_healthy(self._server.url, SLOW_ANSWER_SECONDS)
        )
        if is_up:
            self._last_there = time.monotonic()
        return is_up

    def _start(self) -> None:
        if self._runner is not None and self._runner.poll() is None:
            prefect_server.stop(self._runner.pid)
        earlier = self._server
        if earlier is not None and not is_healthy(earlier.url, SLOW_ANSWER_SECONDS):
            earlier.end()  # the server may hang and block its port
        self._server = self._find_site_server() or prefect_server.start(
            self.home,
            self.env,
            # Reuse the address: loaded code in this process continues to use it.
            port=urlsplit(earlier.url).port if earlier else None,
            is_given_up=self._stop.is_set,
        )
        role = role_named(self.role_name)
        if role.responds:
            self._warm(self._server)
        if role.is_scheduled and not self._stop.is_set():
            names = () if self.role_name is None else (self.role_name,)
            self._runner = self._child("flows.deployments", str(os.getpid()), *names)
        log.info("Prefect answers at %s", self._server.url)

    def _find_site_server(self) -> PrefectServer | None:
        if self.url is None:
            return prefect_server.find(self.home)
        if not is_healthy(self.url):
            raise StandfastError(f"the Prefect server of serve.prefect does not answer: {self.url}")
        return PrefectServer(url=self.url, pid=0)

    def _warm(self, server: PrefectServer) -> None:
        """Load the code that a response needs, before the first response."""
        self._load(server)
        # In another thread, because the call may hang for long if the server dies.
        call = threading.Thread(target=self._call_once, name="warm-up", daemon=True)
        call.start()
        call.join(WARM_SECONDS)
        self._is_warm = True

    def _load(self, server: PrefectServer) -> None:
        """Import the flows; Prefect reads its address once, at this import."""
        flow_calls.use_server(server, self.home)
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
        flow_calls.load()

    def _call_once(self) -> None:
        from flows.warm_up_flow import warm_up

        with suppress(Exception):  # the call only loads code
            warm_up(str(self.config_file), return_state=True)

    def _child(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a module of Standfast as a process that logs to Prefect's folder."""
        url, secret = (self._server.url, self._server.secret) if self._server else ("", "")
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_file = os.open(
            self.home / f"{module}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600
        )
        try:
            return subprocess.Popen(
                [sys.executable, "-m", module, str(self.config_file), *arguments],
                env=environment(self.home, url, self.env, secret),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        finally:
            os.close(log_file)
