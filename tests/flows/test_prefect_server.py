"""The process of the Prefect server: environment, discovery, end."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows import prefect_server
from flows.prefect_server import environment, find, is_healthy, start, stop
from standfast.errors import StandfastError, Unavailable
from tests.flows.installations import plain_environment, processes_naming
from tests.servers import START_SECONDS, free_port, wait_until

_VACUUM = """
from prefect.settings import get_current_settings

vacuum = get_current_settings().server.services.db_vacuum
print(sorted(vacuum.enabled_vacuum_types), vacuum.retention_period.days)
"""
_SERVER_STANDING_IN = """
import http.server, sys, time

given = dict(one.removeprefix("--").split("=") for one in sys.argv[1:])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(given.get("pause", 0)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass

http.server.HTTPServer(("127.0.0.1", int(given["port"])), Handler).serve_forever()
"""

_ANOTHER_USERS = """
import os, socket, sys

os.seteuid(65534)
listener = socket.socket()
os.seteuid(0)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
while True:
    client, _ = listener.accept()
    client.recv(1000)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    client.close()
"""


def test_what_ended_long_ago_leaves_prefects_database(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:1/api", {})
    kept = subprocess.run(
        [sys.executable, "-c", _VACUUM], env={**plain_environment(), **env}, capture_output=True
    )
    assert kept.stdout.split() == [b"['events',", b"'flow_runs',", b"'orphans']", b"90"]


def test_telemetry_and_client_servers_are_off(tmp_path: Path) -> None:
    env = environment(tmp_path, "http://127.0.0.1:1/api", {"PYTHONPATH": "/elsewhere"})
    assert env["DO_NOT_TRACK"] == "1"
    assert env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert env["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] == "false"
    assert env["PREFECT_RESULTS_PERSIST_BY_DEFAULT"] == "false"
    assert env["PREFECT_HOME"] == str(tmp_path)
    assert env["PYTHONPATH"].endswith("/elsewhere")


def test_an_address_where_nothing_listens_is_not_healthy() -> None:
    assert not is_healthy(f"http://127.0.0.1:{free_port()}/api")


def test_silent_server_is_abandoned_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not is_healthy(f"http://127.0.0.1:{silent.getsockname()[1]}/api", seconds=0.1)


def test_note_of_a_dead_server_finds_nothing(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    note = {"url": f"http://127.0.0.1:{free_port()}/api", "pid": gone.pid}
    (tmp_path / "server.json").write_text(json.dumps(note))
    assert find(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"url": 1}', "nonsense"])
def test_a_torn_note_finds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content)
    assert find(tmp_path) is None


def test_foreign_process_with_same_number_is_ignored(tmp_path: Path) -> None:
    note = {"url": f"http://127.0.0.1:{free_port()}/api", "pid": os.getpid()}
    (tmp_path / "server.json").write_text(json.dumps(note))
    assert find(tmp_path) is None


def test_slow_server_differs_from_an_ended_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program, told in (
        ("import time; time.sleep(600)", "did not answer within 1 s"),
        ("", "says"),
    ):
        monkeypatch.setattr(prefect_server, "SERVER_COMMAND", (sys.executable, "-c", program))
        seconds = 1.0 if program else 60.0
        with pytest.raises(Unavailable, match=told):
            start(tmp_path, plain_environment(), seconds=seconds)


def test_abandoned_start_leaves_no_process(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    with pytest.raises(Unavailable):
        start(home, plain_environment(), is_given_up=lambda: True)
    wait_until(lambda: not processes_naming(str(home)), "no process of that home is left")
    assert home.stat().st_mode & 0o777 == 0o700


def test_hanging_earlier_server_is_ended_first(tmp_path: Path) -> None:
    earlier = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"],
        env={"PREFECT_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert earlier.stdout is not None
    with earlier.stdout as output:
        output.readline()  # before its first line, /proc may not show its environment yet
    note = {"url": f"http://127.0.0.1:{free_port()}/api", "pid": earlier.pid}
    (tmp_path / "server.json").write_text(json.dumps(note))
    try:
        assert find(tmp_path) is None
        with pytest.raises(Unavailable):
            start(tmp_path, plain_environment(), is_given_up=lambda: True)
        wait_until(lambda: earlier.poll() is not None, "the earlier one has ended")
    finally:
        earlier.kill()
        earlier.wait()


def test_busy_earlier_server_is_reused(tmp_path: Path) -> None:
    port = free_port()
    earlier = subprocess.Popen(
        [sys.executable, "-c", _SERVER_STANDING_IN, f"--port={port}", "--pause=1.2"],
        env={"PREFECT_HOME": str(tmp_path)},
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}/api"
    note = {"url": url, "pid": earlier.pid, "secret": "standfast:x"}
    (tmp_path / "server.json").write_text(json.dumps(note))
    try:
        wait_until(lambda: is_healthy(url, 5.0), "it answers, if slowly")
        found = find(tmp_path)
        assert found is not None
        assert (found.url, found.pid, found.secret) == (url, earlier.pid, "standfast:x")
        assert "standfast:x" not in repr(found)
        (tmp_path / "server.json").write_text(json.dumps({**note, "secret": ""}))
        assert find(tmp_path) is None  # of an older Standfast, and readable by everybody
    finally:
        earlier.kill()
        earlier.wait()


def test_server_gets_no_secret_of_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        prefect_server, "SERVER_COMMAND", (sys.executable, "-c", _SERVER_STANDING_IN)
    )
    kept = {"LC_TIME": "C", "PREFECT_SERVER_DATABASE_TIMEOUT": "20"}
    server = start(tmp_path, {**plain_environment(), **kept, "SMTP_PASSWORD": "hunter2"})
    try:
        given = Path(f"/proc/{server.pid}/environ").read_bytes()
    finally:
        server.end()
    assert b"hunter2" not in given
    assert {f"{name}={value}".encode() for name, value in kept.items()} <= {*given.split(b"\0")}


def test_address_stays_over_an_ended_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        prefect_server, "SERVER_COMMAND", (sys.executable, "-c", _SERVER_STANDING_IN)
    )
    urls = []
    for _ in range(2):
        server = start(tmp_path, plain_environment())
        server.end()
        urls.append(server.url)
    assert urls[0] == urls[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_answer_of_another_user_is_not_believed(tmp_path: Path) -> None:
    # The attempt: another user of the host listens where Prefect was, and answers its clients.
    port = free_port()
    other = subprocess.Popen([sys.executable, "-c", _ANOTHER_USERS, str(port)])
    ours = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={"PREFECT_HOME": str(tmp_path)},
    )
    url = f"http://127.0.0.1:{port}/api"
    note = {"url": url, "pid": ours.pid, "secret": "standfast:x"}
    (tmp_path / "server.json").write_text(json.dumps(note))
    try:
        wait_until(lambda: is_healthy(url), "it answers")
        assert find(tmp_path) is None
    finally:
        for process in (other, ours):
            process.kill()
            process.wait()


def test_server_takes_the_address_of_its_predecessor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows that a killed `serve` left under way speak to it."""
    monkeypatch.setattr(
        prefect_server, "SERVER_COMMAND", (sys.executable, "-c", _SERVER_STANDING_IN)
    )
    first = start(tmp_path, plain_environment())
    assert first.process is not None
    os.kill(first.pid, signal.SIGSTOP)
    second = start(tmp_path, plain_environment())
    try:
        first.process.wait(START_SECONDS)
        assert (second.url, second.secret) == (first.url, first.secret)
        assert second.pid != first.pid
        assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600
    finally:
        second.end()


def test_occupied_address_is_left_to_its_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program there may be the Prefect of another installation."""
    monkeypatch.setattr(
        prefect_server, "SERVER_COMMAND", (sys.executable, "-c", _SERVER_STANDING_IN)
    )
    other = start(tmp_path / "other", plain_environment())
    port = urlsplit(other.url).port
    server = start(tmp_path / "ours", plain_environment(), port=port)
    try:
        assert urlsplit(server.url).port != port
        assert server.process is not None
        assert server.process.poll() is None
    finally:
        server.end()
        other.end()


def test_uncreatable_home_gives_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "prefect").write_text("a file")
    with pytest.raises(StandfastError, match=r"serve\.prefect_home"):
        start(tmp_path / "prefect", plain_environment())


def test_process_ignoring_signals_is_killed_with_children() -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.stdout.close()
    stop(process.pid)
    process.wait(START_SECONDS)
    wait_until(lambda: not _runs(child), "the child has ended too")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
