"""Servers of the demo: real, separate, and ended by process id only."""

import json
import os
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from demo import mail_server, server_processes
from demo.demo_configuration import TOKEN_FILE
from demo.server_processes import Accounts, Running
from standfast.errors import StandfastError, UsageError
from tests.servers import need


@contextmanager
def _running(place: Path) -> Iterator[tuple[Accounts, Running]]:
    need("scim2-server", "it is the directory of the demo; install the dev requirements")
    need("aiosmtpd", "it is the mail server of the demo; install the dev requirements")
    server_processes.make_token(place)
    directory_port, mail_port = server_processes.ports()
    started = server_processes.start(place, directory_port=directory_port, mail_port=mail_port)
    try:
        yield Accounts(place, directory_port), started[1]
    finally:
        server_processes.stop(place)


def test_directory_remembers_locks_after_a_restart(
    tmp_path: Path,
) -> None:
    with _running(tmp_path) as (accounts, _):
        accounts.create(["alice", "bob"])
        (alice,) = [one for one in _users(tmp_path) if one["userName"] == "alice"]
        _deactivate(tmp_path, str(alice["id"]))
        assert server_processes.stop(tmp_path) == 2
        again = server_processes.start_again(tmp_path)
        assert accounts.active() == {"alice": False, "bob": True}
        assert {one["id"] for one in _users(tmp_path)} >= {alice["id"]}
        assert server_processes.start_again(tmp_path) == again


def _users(place: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((place / "directory.json").read_text())
    return found


def _deactivate(place: Path, account_id: str) -> None:
    (directory, _) = json.loads((place / server_processes.SERVERS_FILE).read_text())
    operation = {"op": "replace", "path": "active", "value": False}
    httpx.patch(
        f"http://127.0.0.1:{directory['port']}/v2/Users/{account_id}",
        json={
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [operation],
        },
        headers={"Authorization": f"Bearer {(place / TOKEN_FILE).read_text().strip()}"},
        trust_env=False,
    ).raise_for_status()


def test_the_directory_answers_nobody_without_the_token(tmp_path: Path) -> None:
    with _running(tmp_path):
        (directory, _) = json.loads((tmp_path / server_processes.SERVERS_FILE).read_text())
        answer = httpx.get(f"http://127.0.0.1:{directory['port']}/v2/Users", trust_env=False)
        assert answer.status_code == 401
        assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600


def test_mail_numbers_continue_after_a_restart(
    tmp_path: Path,
) -> None:
    with _running(tmp_path) as (_, mail):
        _send(mail.port, "ana@example.net", "first")
        server_processes.stop(tmp_path)
        server_processes.start_again(tmp_path)
        _send(mail.port, "ben@example.net", "second")
        found = mail_server.delivered(tmp_path / server_processes.MAILBOX)
        assert [address for address, _ in found] == ["ana@example.net", "ben@example.net"]
        assert [mail_server.read(path)["Subject"] for _, path in found] == ["first", "second"]
        assert list((tmp_path / server_processes.MAILBOX / "tmp").iterdir()) == []


def _send(port: int, to: str, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
        smtp.sendmail("security@example.com", [to], f"Subject: {subject}\r\n\r\nText\r\n")


def test_process_with_a_reused_number_is_kept(tmp_path: Path) -> None:
    # This process is the stranger: if it were ended, no test would report.
    stranger = {"name": "mail", "port": 1, "pid": os.getpid(), "began": "1"}
    (tmp_path / server_processes.SERVERS_FILE).write_text(json.dumps([stranger]))
    assert server_processes.stop(tmp_path) == 0


def test_folder_without_servers_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="standfast demo"):
        server_processes.stop(tmp_path)
    with pytest.raises(UsageError, match="standfast demo"):
        server_processes.start_again(tmp_path)


def test_a_note_that_cannot_be_read_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / server_processes.SERVERS_FILE).write_text("{")
    with pytest.raises(StandfastError, match="end its servers by hand"):
        server_processes.stop(tmp_path)


def test_dying_server_is_reported_with_its_log(tmp_path: Path) -> None:
    need("scim2-server", "it is the directory of the demo; install the dev requirements")
    directory_port, mail_port = server_processes.ports()
    # Without a token file the directory cannot start.
    with pytest.raises(StandfastError, match="directory server ended while starting"):
        server_processes.start(tmp_path, directory_port=directory_port, mail_port=mail_port)
    assert "FileNotFoundError" in (tmp_path / "server-logs" / "directory.log").read_text()
    assert server_processes.stop(tmp_path) == 0


def test_waiting_has_an_end() -> None:
    with pytest.raises(StandfastError, match="the moon did not answer"):
        server_processes.wait_for(lambda: False, "the moon", seconds=0.05)
