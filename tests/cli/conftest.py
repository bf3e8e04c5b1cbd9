"""Installations in which tests type commands."""

import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast import http_client, retry_rules
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.setup.new_installation import set_up
from tests.cli.desk import Desk, furnish
from tests.memory_disk import tmp_path
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import enrol_people

__all__ = ["tmp_path"]


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """A desk in an empty folder, without a configuration."""
    for name in ("STANDFAST_CONFIG", "STANDFAST_PASSPHRASE", "STANDFAST_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Desk(folder=tmp_path, capture=capsys, monkeypatch=monkeypatch)


@pytest.fixture(scope="session")
def model_installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation as `init` makes it, made once for each process.

    It is shared because its ledger takes half a second.
    """
    root = tmp_path_factory.mktemp("model")
    (root / "source").mkdir()
    set_up(
        root / "place",
        root / "source",
        organisation="Example Contact Centres",
        contact_line="020 7946 0000",
        now=datetime.now(UTC),
    )
    return root / "place"


@pytest.fixture
def installation(desk: Desk, model_installation: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a new installation over one file, with short retry pauses."""
    monkeypatch.setattr(http_client, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(retry_rules, "OBSERVATION_PAUSE", timedelta(seconds=0.02))
    source = desk.folder / "source"
    source.mkdir()
    (source / "note.txt").write_text("a note")
    folder = desk.folder / "place"
    shutil.copytree(model_installation, folder)
    config_file = folder / "standfast.toml"
    text = config_file.read_text()
    text = text.replace(str(model_installation.with_name("source")), str(source))
    # One set is enough for most commands; tests/cli/recovery tests copies of the installation.
    config_file.write_text(text.replace("\n[backup.installation]\n", "\n"))
    desk.use(config_file)
    return folder


@pytest.fixture
def quiet_installation(installation: Path) -> Path:
    """A complete installation without running servers, for exercises."""
    config_file = furnish(installation)
    with open_installation(config_file, env={}, actor="os:test") as opened:
        enrol_people(opened)
    return installation


@pytest.fixture
def live_installation(
    installation: Path, desk: Desk, scim_server: ScimServer, smtp_server: SmtpServer
) -> Path:
    """An installation with a real directory, a mail server and three people."""
    config_file = furnish(installation, scim_url=scim_server.url, smtp_port=smtp_server.port)
    desk.monkeypatch.setenv("SCIM_TOKEN", scim_server.token)
    with open_installation(config_file, env={}, actor="os:test") as opened:
        enrol_people(opened)
    return installation


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Set the default handlers of signals that the test runner may ignore."""
    usual: dict[signal.Signals, Any] = {
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
