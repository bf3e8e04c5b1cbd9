"""Control socket of `serve`: permitted users, requests, independence."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from standfast.console.control_socket_server import ControlSocketServer
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.control_socket_client import (
    SOURCE,
    OpenRequest,
    ServeAddress,
    address,
    ask,
    control_socket_of,
    socket_of,
)
from standfast.usecases.incidents.lifecycle import open_incident
from tests.usecases.installations import furnish, installation_at

WANTED = OpenRequest(
    message="0" * 32,
    configuration="",
    scenario="lock",
    inputs={"accounts": ["agents:alice"], "reason": "seen in two countries"},
    mode="live",
    actor="os:dana@desk",
)


@dataclass
class Entrance:
    """An installation with a control socket, and its started work."""

    config_file: Path
    installation: Installation
    begun: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.installation.config.serve.prefect_home

    @property
    def wanted(self) -> OpenRequest:
        return replace(WANTED, configuration=self.installation.config.fingerprint)

    @property
    def incidents(self) -> list[str]:
        return [one.id for one in self.installation.ledger.incidents.all()]


@contextmanager
def entrance_at(folder: Path) -> Iterator[Entrance]:
    config_file = furnish(folder)
    with installation_at(config_file) as installation:
        found = Entrance(config_file=config_file, installation=installation)
        found.home.mkdir(mode=0o700, exist_ok=True)
        keeper = ControlSocketServer(installation=installation, begin_work=found.begun.append)
        keeper.begin()
        try:
            yield found
        finally:
            keeper.end()
        assert control_socket_of(config_file) is None


@pytest.fixture
def entrance(tmp_path: Path) -> Iterator[Entrance]:
    with entrance_at(tmp_path) as found:
        yield found


def test_opened_incident_records_requester_and_begins_at_once(entrance: Entrance) -> None:
    door = control_socket_of(entrance.config_file)
    assert door == ServeAddress(home=entrance.home, configuration=entrance.wanted.configuration)
    opened = ask(entrance.home, entrance.wanted, seconds=30)
    assert opened is not None
    assert (entrance.begun, opened.has_joined) == ([opened.incident], False)
    row = entrance.installation.ledger.incidents.get(opened.incident)
    assert (row.opened_by, row.is_signed, row.mode) == ("os:dana@desk", False, Mode.LIVE)
    assert row.inputs["accounts"] == ["agents:alice"]


def test_socket_folder_of_root_is_not_used(
    entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_socket", refuse)
        assert control_socket_of(entrance.config_file) is None
    assert control_socket_of(entrance.config_file) is not None


def test_repeated_message_opens_no_second_incident(entrance: Entrance) -> None:
    first = ask(entrance.home, entrance.wanted, seconds=30)
    again = ask(entrance.home, entrance.wanted, seconds=30)
    here = open_incident(
        entrance.installation,
        "lock",
        WANTED.inputs,
        mode=Mode.LIVE,
        message=TriggerMessage(source=SOURCE, handle=WANTED.message),
    )
    assert first is not None
    assert again is not None
    assert entrance.incidents == [first.incident] == [again.incident] == [here.incident]
    assert entrance.begun == [first.incident]


@pytest.mark.parametrize(
    "other",
    [
        {"scenario": "there-is-none"},
        {"inputs": {}},
        {"mode": "loud"},
        {"actor": "dana"},
        {"message": "short"},
    ],
    ids=["scenario", "inputs", "mode", "actor", "message"],
)
def test_unopenable_incident_is_left_to_the_command(
    entrance: Entrance, other: dict[str, Any]
) -> None:
    assert ask(entrance.home, replace(entrance.wanted, **other), seconds=30) is None
    assert (entrance.incidents, entrance.begun) == ([], [])


def test_a_command_with_another_configuration_opens_nothing_here(entrance: Entrance) -> None:
    other = entrance.config_file.with_name("try-out.toml")
    other.write_text(entrance.config_file.read_text())
    door = control_socket_of(other)
    assert door is not None
    assert door.home == entrance.home
    wanted = replace(WANTED, configuration=door.configuration)
    assert ask(door.home, wanted, seconds=30) is None
    entrance.config_file.write_text(entrance.config_file.read_text() + "# changed since\n")
    changed = control_socket_of(entrance.config_file)
    assert changed is not None
    wanted = replace(WANTED, configuration=changed.configuration)
    assert ask(changed.home, wanted, seconds=30) is None
    assert (entrance.incidents, entrance.begun) == ([], [])


def test_failed_socket_is_created_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, falls = socket.socket.accept, [OSError(errno.EMFILE, "too many open files")]

    def stumble(self: socket.socket) -> tuple[socket.socket, Any]:
        if falls:
            raise falls.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", stumble)
    with entrance_at(tmp_path) as entrance:
        assert ask(entrance.home, entrance.wanted, seconds=30) is not None
    assert not falls


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b'{"inputs": 1}\n', b"\xff\n", b"no"])
def test_noise_is_hung_up_on(entrance: Entrance, line: bytes) -> None:
    with address(entrance.home) as where, socket.socket(socket.AF_UNIX) as door:
        door.settimeout(30)
        door.connect(where)
        door.sendall(line)
        door.shutdown(socket.SHUT_WR)
        assert door.recv(100) == b""
    assert entrance.incidents == []


def test_a_stranger_is_not_answered(entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = os.geteuid() + 4321
    peer = struct.pack("3i", os.getpid(), stranger, stranger)
    monkeypatch.setattr(socket.socket, "getsockopt", lambda *_: peer)
    assert ask(entrance.home, entrance.wanted, seconds=30) is None
    assert entrance.incidents == []


def test_only_its_own_user_may_knock(entrance: Entrance) -> None:
    assert socket_of(entrance.home).stat().st_mode & 0o777 == 0o600


def test_silent_serve_is_not_awaited(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        with address(tmp_path) as where:
            silent.bind(where)
        silent.listen(1)
        assert ask(tmp_path, WANTED, seconds=0.05) is None


def test_serve_that_dies_before_answering_is_not_awaited(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dying:
        with address(tmp_path) as where:
            dying.bind(where)
        dying.listen(1)

        def die() -> None:
            with closing(dying.accept()[0]) as door:
                door.recv(10)

        thread = threading.Thread(target=die)
        thread.start()
        assert ask(tmp_path, WANTED, seconds=30) is None
        thread.join()


def test_socket_of_killed_serve_is_replaced(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    home.mkdir()
    with address(home) as where, socket.socket(socket.AF_UNIX) as left:
        left.bind(where)
    assert ask(home, WANTED, seconds=30) is None
    with entrance_at(tmp_path) as entrance:
        assert entrance.home == home
        assert ask(home, entrance.wanted, seconds=30) is not None


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux knows such addresses")
def test_long_folder_path_still_has_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    with entrance_at(folder) as entrance:
        assert len(os.fsencode(socket_of(entrance.home))) > 107
        assert ask(entrance.home, entrance.wanted, seconds=30) is not None
