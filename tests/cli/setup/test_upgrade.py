"""The installation of an earlier release, after an upgrade of the program."""

from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.cli.setup.earlier_installation import RELEASES, load

INCIDENT = "inc-2026-0001"


@pytest.fixture(params=RELEASES)
def earlier(request: pytest.FixtureRequest, desk: Desk) -> Path:
    """Return the folder of an installation with an incident that waits."""
    folder = desk.folder / "place"
    folder.mkdir()
    desk.use(load(request.param, folder))
    return folder


def upgrade(desk: Desk, folder: Path) -> None:
    """Upgrade the ledger, if its tables changed since that release."""
    answer = desk.run("status")
    if answer.status == ExitStatus.USAGE:
        assert "standfast init" in answer.err
        assert desk.json("init", folder)["is_ledger_upgraded"] is True


def test_open_incident_continues_after_upgrade(desk: Desk, earlier: Path) -> None:
    upgrade(desk, earlier)
    signed = desk.by("lee")
    digest = desk.asked()
    desk.run("incident", "approve", INCIDENT, "isolate", "--digest", digest, *signed)
    steps = desk.json("incident", "status", INCIDENT)["steps"]
    assert [step["state"] for step in steps] == ["done"]
    assert desk.run("incident", "close", INCIDENT, *signed).status == ExitStatus.DONE
    assert desk.run("audit", "verify").status == ExitStatus.DONE
