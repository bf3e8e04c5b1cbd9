"""The thread that keeps Prefect keeps only Prefect."""

import errno
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import flow_calls, prefect_server
from flows import prefect_supervisor as supervisor_module
from flows.prefect_server import PrefectServer, environment
from flows.prefect_supervisor import PrefectSupervisor
from tests.flows.installations import plain_environment
from tests.servers import wait_until
from tests.usecases.backup_installation import furnish


def test_hanging_first_call_allows_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server dies during the first call, which never returns."""
    never = threading.Event()
    started: list[int | None] = []

    def start(home: Path, env: object, *, port: int | None, is_given_up: object) -> PrefectServer:
        started.append(port)
        return PrefectServer(url="http://127.0.0.1:9", pid=0)

    monkeypatch.setattr(prefect_server, "find", lambda home: None)
    monkeypatch.setattr(prefect_server, "start", start)
    for name in ("use_server", "load"):
        monkeypatch.setattr(flow_calls, name, lambda *_: None)
    hanging = SimpleNamespace(warm_up=lambda *_, **__: never.wait())
    monkeypatch.setitem(sys.modules, "flows.warm_up_flow", hanging)
    for name in ("WARM_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(supervisor_module, name, 0.01)
    keeper = PrefectSupervisor(
        config_file=tmp_path / "standfast.toml",
        home=tmp_path,
        url=None,
        env={},
        role_name="respond",
    )
    keeper.begin()
    try:
        wait_until(lambda: len(started) >= 2, "it is started again")
        assert started[:2] == [None, 9]
    finally:
        keeper.end()
        never.set()


def test_runner_of_a_killed_serve_ends(tmp_path: Path) -> None:
    """It would run backups by an old configuration next to the new `serve`."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = subprocess.run(
        [sys.executable, "-m", "flows.deployments", str(furnish(tmp_path)), str(gone.pid)],
        env=environment(tmp_path / "prefect", "http://127.0.0.1:9/api", plain_environment()),
        capture_output=True,
    )
    assert (left.returncode, left.stderr) == (0, b"")


def test_full_disk_is_reported_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(*_: object, **__: object) -> PrefectServer:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prefect_server, "start", start)
    keeper = PrefectSupervisor(
        config_file=tmp_path / "standfast.toml", home=tmp_path, url=None, env={}
    )
    with caplog.at_level(logging.WARNING, "standfast.serve"):
        keeper.begin()
        try:
            wait_until(lambda: bool(caplog.messages), "it is told")
        finally:
            keeper.end()
    assert caplog.messages[0] == (
        f"Prefect: {tmp_path}: No space left on device; incidents run without it"
    )
