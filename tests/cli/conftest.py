"""Places to type commands in."""

from pathlib import Path

import pytest

from standfast.operations.place import open_place
from tests.cli.desk import Desk, furnish
from tests.operations.places import enrol_people
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """A desk in an empty folder: no configuration is named, and none lies there."""
    for name in ("STANDFAST_CONFIG", "STANDFAST_PASSPHRASE", "STANDFAST_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Desk(folder=tmp_path, capture=capsys, monkeypatch=monkeypatch)


@pytest.fixture
def place(desk: Desk) -> Path:
    """The folder of a fresh place over one file, which every command means."""
    source = desk.folder / "source"
    source.mkdir()
    (source / "note.txt").write_text("a note")
    folder = desk.folder / "place"
    assert desk.run("init", folder, "--source", source, "--yes").status == 0
    desk.use(folder / "standfast.toml")
    return folder


@pytest.fixture
def quiet_place(place: Path) -> Path:
    """A furnished place whose servers are not there: for exercises."""
    config_file = furnish(place)
    with open_place(config_file, env={}, actor="os:test") as opened:
        enrol_people(opened)
    return place


@pytest.fixture
def live_place(place: Path, desk: Desk, scim_server: ScimServer, smtp_server: SmtpServer) -> Path:
    """A furnished place with a real directory and a real mail server, and three people."""
    config_file = furnish(place, scim_url=scim_server.url, smtp_port=smtp_server.port)
    desk.monkeypatch.setenv("SCIM_TOKEN", scim_server.token)
    with open_place(config_file, env={}, actor="os:test") as opened:
        enrol_people(opened)
    return place
