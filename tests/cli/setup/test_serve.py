"""`standfast serve` in its own process, without a reachable Prefect."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows import serve_process
from standfast.config import load
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import ENTRY, ROOT, Desk
from tests.servers import START_SECONDS, need, wait_until

_RECEIVER = """
[on_call]
fallback = ["person:dana"]

[requests.siem]
url = "http://127.0.0.1:9/events/{event}"
parameters = { event = {} }

[incident_events.siem]
opened = "siem"
"""


@contextmanager
def serving(config_file: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Serve until the block ends."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, "serve", "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "STANDFAST_CONFIG": str(config_file)},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=START_SECONDS)


@pytest.mark.long
def test_serve_continues_opened_incidents_until_terminated(
    desk: Desk, quiet_installation: Path
) -> None:
    need("prefect", "serve runs its flows; install the requirements")
    config_file = quiet_installation / "standfast.toml"
    with config_file.open("a") as file:
        file.write('\n[serve]\nprefect = "http://127.0.0.1:9/api"\n')
    with serving(config_file, desk.folder / "log") as process:
        wait_until(
            lambda: process.poll() is not None or desk.json("status")["serve"],
            "serve is known to the ledger",
        )
        assert process.poll() is None, (desk.folder / "log").read_text()
        second = desk.run("serve")
        assert (second.status, "runs on this machine already" in second.err) == (4, True)
        # On a busy machine, `serve` may miss its second; the command line then does the work
        # itself.
        wait_until(lambda: locks_by_serve(desk), "serve picks one up")
        said = (desk.folder / "log").read_text
        wait_until(lambda: locks_by_serve(desk) and " a command: inc-" in said(), "it opens one")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 0
    assert json.loads(out)["pid"] == process.pid
    assert desk.json("status")["serve"] is False


_MESSAGES = ["paging", "call-outs", "events"]
_SERVERS = ["ControlSocketServer", "HttpServer"]


@pytest.mark.parametrize(
    ("role", "parts"),
    [
        ("all", _SERVERS + _MESSAGES),
        ("api", _SERVERS + _MESSAGES),
        ("watch", []),
        ("respond", _MESSAGES),
        ("worker", []),
        ("drills", []),
    ],
)
def test_role_starts_only_its_parts(
    desk: Desk,
    quiet_installation: Path,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    parts: list[str],
) -> None:
    with (quiet_installation / "standfast.toml").open("a") as file:
        file.write(_RECEIVER)
    began: list[str] = []

    def serve(config_file: Path, *, role_name: str, parts_of: Any, **_: object) -> int:
        assert role_name == role
        with open_installation(config_file, env={}) as installation:
            found = parts_of(installation, lambda _: None)
        began.extend(getattr(part, "name", type(part).__name__) for part in found)
        return 0

    monkeypatch.setattr(serve_process, "serve", serve)
    assert desk.run("serve", "--role", role).status == 0
    assert began == parts


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_does_not_serve_for_another_user(desk: Desk, quiet_installation: Path) -> None:
    home = load(quiet_installation / "standfast.toml").serve.prefect_home
    os.chown(load(quiet_installation / "standfast.toml").backup.host, 65534, 65534)
    answer = desk.run("serve")
    assert (answer.status, "`sudo -u nobody`" in answer.err) == (
        4,
        True,
    )
    assert not home.exists()


def locks_by_serve(desk: Desk) -> bool:
    """Lock in an exercise; return whether `serve` ran or continued it."""
    locked = desk.json("lock", "alice", "--exercise")
    assert locked["exit_status"] == 0
    return "serve" in [
        event["detail"]["way"]
        for event in desk.json("audit", "show", locked["incident"])["events"]
        if event["action"] == "runner.started"
    ]


def test_missing_installation_is_not_served(desk: Desk) -> None:
    answer = desk.run("serve", "-c", "missing.toml")
    assert (answer.status, "missing" in answer.err) == (2, True)


def test_failed_serve_prints_one_document(desk: Desk, installation: Path) -> None:
    need("prefect", "serve runs its flows; install the requirements")
    config_file = installation / "standfast.toml"
    config_file.write_text(config_file.read_text().replace("#port = 8350", "port = 99999"))
    assert "serve.port" in desk.json("serve")["error"]
    assert desk.run("serve").out == ""
