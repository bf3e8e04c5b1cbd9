"""`evidence dispose` at the command line: request, withdrawal, approval."""

from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK


@pytest.fixture
def incident(desk: Desk, live_installation: Path) -> str:
    """Close an incident that froze logs; return its id."""
    (live_installation / "playbooks").mkdir(exist_ok=True)
    (live_installation / "playbooks" / "keep-logs.yaml").write_text(PLAYBOOK)
    settings = live_installation / "standfast.toml"
    settings.write_text(settings.read_text() + '\n[playbooks]\nfolder = "playbooks"\n')
    opened = desk.json("incident", "open", "keep-logs")
    assert opened["exit_status"] == 0, opened
    assert desk.run("incident", "close", *desk.by("lee")).status == ExitStatus.DONE
    return str(opened["incident"])


def test_withdrawn_disposal_removes_nothing(desk: Desk, incident: str) -> None:
    words = ("evidence", "dispose", incident)
    requested = desk.json(*words, "--reason", "retention is over", *desk.by("dana"))
    assert requested["exit_status"] == ExitStatus.WAITS_FOR_PEOPLE
    assert desk.json(*words, "--withdraw", *desk.by("kim"))["withdrawn"] == "dana"
    for word in ("--withdraw", "--approve"):
        assert desk.run(*words, word, *desk.by("lee")).status == ExitStatus.USAGE
    assert desk.run("evidence", "verify", incident).status == ExitStatus.DONE


def test_approved_disposal_is_listed(desk: Desk, incident: str) -> None:
    words = ("evidence", "dispose", incident)
    desk.run(*words, "--reason", "retention is over", *desk.by("dana"))
    assert desk.run(*words, "--approve", *desk.by("lee")).status == ExitStatus.DONE
    listed = desk.run("evidence", "list", incident)
    assert listed.status == ExitStatus.DONE
    assert "disposed of" in listed.out
    verified = desk.run("evidence", "verify", incident)
    assert verified.status == ExitStatus.DONE
    assert ": disposed of at " in verified.out
    assert ": intact" not in verified.out
