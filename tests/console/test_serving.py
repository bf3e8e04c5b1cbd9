"""From a signed message to the lock in `standfast serve`, with kills."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from flows.serve_loop import Serving
from standfast.console import serve_parts
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import look
from standfast.usecases.setup.installation_opening import open_installation
from tests.console.installations import ENV, SIEM, about, furnish_with, signed
from tests.flows.installations import plain_environment
from tests.servers import START_SECONDS, free_port, wait_until
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import enrol_people, furnish, installation_at

ENTRY = "import sys; from standfast.cli import main; sys.exit(main())"


@contextmanager
def serve(config_file: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `standfast serve` as a user would."""
    with (config_file.parent / "serve.log").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, "serve", "-c", str(config_file)],
            env={**plain_environment(env)},
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(START_SECONDS)
            finally:
                process.kill()


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def send(url: str, user: str) -> str:
    body = json.dumps(about(user))
    headers = signed(body, f"msg_{user}")
    answer = httpx.post(
        f"{url}/triggers/siem", content=body, headers=headers, trust_env=False, timeout=30
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["incident"])


def is_over(installation: Installation, case: str) -> bool:
    return look(installation, case).summary.is_over


@pytest.mark.long
def test_killed_serve_completes_a_signed_lock_later(
    tmp_path: Path, scim_server: ScimServer
) -> None:
    first, second = scim_server.create("agent01"), scim_server.create("agent02")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config_file = furnish(tmp_path, scim_url=scim_server.url, timeout_seconds=2)
    with config_file.open("a") as file:
        nowhere = "http://127.0.0.1:9/api"  # Prefect is not what is tested here
        file.write(SIEM + f'\n[serve]\nport = {port}\nprefect = "{nowhere}"\nlog_format = "json"\n')
    env = {**ENV, "SCIM_TOKEN": scim_server.token}
    with installation_at(config_file, token=scim_server.token) as installation:
        with serve(config_file, env) as process:
            wait_until(lambda: is_up(url), "it answers")
            case = send(url, "agent01")
            wait_until(lambda: is_over(installation, case), "the account is locked")
            assert not scim_server.is_active(first)
            case = send(url, "agent02")
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        with serve(config_file, env):
            wait_until(lambda: is_over(installation, case), "the next one goes on by itself")
            assert not scim_server.is_active(second)
            wait_until(lambda: is_up(url), "it answers again")
            assert send(url, "agent02") == case
        assert installation.ledger.audit.verify().is_whole
    said = (tmp_path / "serve.log").read_text()
    events = [json.loads(line)["event"] for line in said.splitlines() if line.startswith('{"time')]
    assert events.count("listening on %s port %d") == 2
    assert "agent0" not in said
    assert "Traceback" not in said


@contextmanager
def serving_here(installation: Installation, config_file: Path) -> Iterator[Serving]:
    """Run the loop and its services here, without Prefect."""
    loop = Serving(installation=installation, config_file=config_file, prefect=None)
    loop.parts = serve_parts(installation, loop.begin_work)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        wait_until(
            lambda: bool(installation.ledger.runners.live(None, installation.clock())), "it serves"
        )
        yield loop
    finally:
        loop.stop.set()
        thread.join(START_SECONDS)
    assert not thread.is_alive()


def test_people_on_call_are_paged_during_the_response(
    tmp_path: Path, smtp_server: SmtpServer
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    plans = SIEM.replace('mode = "live"\n', "")
    config_file = furnish_with(
        tmp_path, plans + f"\n[serve]\nport = {port}\n", smtp_port=smtp_server.port
    )
    with (
        installation_at_with(config_file) as installation,
        serving_here(installation, config_file),
    ):
        enrol_people(installation)
        wait_until(lambda: is_up(url), "it answers")
        smtp_server.hold("data")
        case = send(url, "agent01")
        smtp_server.wait_for("data")  # a slow server is notifying people
        assert is_up(url)
        assert send(url, "agent02") != case
        smtp_server.release()
        wait_until(lambda: len(smtp_server.delivered) >= 3, "all three are told")


@contextmanager
def installation_at_with(config_file: Path) -> Iterator[Installation]:
    with open_installation(config_file, env=ENV, actor="os:test") as installation:
        yield installation


def test_occupied_port_is_logged_and_loop_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config_file = furnish_with(tmp_path, SIEM + f"\n[serve]\nport = {port}\n")
        with (
            installation_at_with(config_file) as installation,
            serving_here(installation, config_file) as loop,
        ):
            wait_until(lambda: "HTTP is unavailable" in caplog.text, "it is said")
            wait_until(lambda: loop.is_quiet, "the loop goes on")
            taken.close()
            wait_until(lambda: is_up(f"http://127.0.0.1:{port}"), "it listens when it may")
