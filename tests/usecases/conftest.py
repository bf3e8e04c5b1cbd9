"""Installations with real servers, and one with simulators."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast import retry_rules
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.outcome import Outcome
from tests.ledger_schema import DATABASES
from tests.memory_disk import tmp_path
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.alarmed import WatchedHost, watched_host
from tests.usecases.installations import enrol_people, furnish, installation_at
from tests.usecases.twins import SimulatedInstallation, simulated_installation

__all__ = ["tmp_path"]


@dataclass
class Centre:
    """An open installation, its servers, and short forms of common steps."""

    installation: Installation
    config_file: Path
    scim: ScimServer
    smtp: SmtpServer

    def open(self, scenario: str, *accounts: str, **more: Any) -> str:
        """Open a live incident as dana, signed in; return its id."""
        options: dict[str, Any] = {"mode": Mode.LIVE, "opened_by": "dana", **more}
        opened = lifecycle.open_incident(
            self.installation,
            scenario,
            {"accounts": list(accounts)},
            **options,
        )
        return opened.incident

    def advance(self, incident_id: str) -> Outcome:
        return lifecycle.advance(self.installation, incident_id, "direct")

    def mails_to(self, address: str) -> int:
        return sum(mail.recipients == (address,) for mail in self.smtp.delivered)


@pytest.fixture
def centre(tmp_path: Path, scim_server: ScimServer, smtp_server: SmtpServer) -> Iterator[Centre]:
    """An installation on SQLite with dana, lee and kim."""
    config_file = furnish(tmp_path, scim_url=scim_server.url, smtp_port=smtp_server.port)
    with installation_at(config_file, token=scim_server.token) as installation:
        enrol_people(installation)
        yield Centre(
            installation=installation, config_file=config_file, scim=scim_server, smtp=smtp_server
        )


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pause before an unknown outcome is looked up again."""
    monkeypatch.setattr(retry_rules, "OBSERVATION_PAUSE", timedelta(seconds=0.02))


@pytest.fixture
def calls_settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time after which a cut call can no longer arrive.

    For tests whose server has received or refused the call before its connection ends.
    """
    monkeypatch.setattr(retry_rules, "SETTLE_FACTOR", 0.02)


@pytest.fixture(params=DATABASES)
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """Live installation with simulators, on each database in turn."""
    url = "sqlite:///ledger.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_ledger_url")
    with simulated_installation(tmp_path, url) as installation:
        yield installation


@pytest.fixture
def host(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[WatchedHost]:
    """Installation with watched backups and alarms by real mail."""
    with watched_host(tmp_path, smtp_server) as host:
        yield host
