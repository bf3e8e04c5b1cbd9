"""Shipped playbooks that restore services in one of their steps."""

from pathlib import Path

import pytest

from standfast.records import StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.retention_holds import holds
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery.recovery_status import recovery_status
from tests.usecases.backup_installation import SERVICE, change, installation_at
from tests.usecases.backups.test_retention import name_a_keeper
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.recovery_installation import opened, prepared, tree

SENDER = """
[senders.mail]
kind = "smtp"
host = "127.0.0.1"
port = 9
security = "none"
sender_address = "notice@example.com"

[notices]
sender = "mail"
"""
AUDIENCE = """

[audiences.{name}]
kind = "csv"
path = "people.csv"
why = "works here"
"""


MODE = """

[services.crm.modes.callback]
command = "ivr"

[commands.ivr]
argv = ["/usr/bin/touch", "{folder}/callback"]
undo = ["/bin/rm", "{folder}/callback"]
"""


def settings(folder: Path) -> str:
    """Return a service, a sender, and the audiences that the playbooks need."""
    (folder / "people.csv").write_text("address,name\n")
    return (
        SERVICE
        + MODE.format(folder=folder)
        + SENDER
        + "".join(AUDIENCE.format(name=n) for n in ("staff", "customers"))
    )


def answer(installation: Installation, case: str, **answers: str) -> None:
    """Answer the steps in this order, and resume the incident after each."""
    for step, text in answers.items():
        step_decisions.answer(installation, case, step, text, by="lee")
        lifecycle.advance(installation, case, "direct")


def test_outage_restores_the_named_services(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path, settings(tmp_path))) as installation:
        case = opened(installation, "platform-outage", service="CRM", recovered_services="crm")
        answer(
            installation,
            case,
            first_help="done",
            provider="done",
            attack="no",
            way_back="restore",
            stop_writers="all stopped",
        )
        assert (live / "recordings" / "ransom-note.txt").exists()
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        assert tree(live / "recordings") == tree(tmp_path / "recordings")
        (service,) = recovery_status(installation, case).services
        assert service.is_checked
        undo_approved(installation, case, step="recover")
        lifecycle.advance(installation, case, "direct")
        assert (live / "recordings" / "ransom-note.txt").exists()


@pytest.mark.parametrize("way_back", ["wait", "move"])
def test_outage_restores_nothing_without_decision(tmp_path: Path, way_back: str) -> None:
    with installation_at(prepared(tmp_path, settings(tmp_path))) as installation:
        case = opened(installation, "platform-outage", service="CRM", recovered_services="crm")
        answer(
            installation, case, first_help="done", provider="done", attack="no", way_back=way_back
        )
        state = installation.ledger.incidents.state(case)
        assert state.steps["recover"].state is StepState.SKIPPED


def test_outage_switches_the_service_until_undone(tmp_path: Path) -> None:
    with installation_at(prepared(tmp_path, settings(tmp_path))) as installation:
        case = opened(
            installation,
            "platform-outage",
            service="CRM",
            switched_service="crm",
            emergency_mode="callback",
        )
        assert (tmp_path / "callback").exists()
        undo_approved(installation, case, step="degrade")
        lifecycle.advance(installation, case, "direct")
        assert not (tmp_path / "callback").exists()


def test_ransomware_restores_the_last_clean_point(tmp_path: Path) -> None:
    config_file = prepared(tmp_path, settings(tmp_path))
    name_a_keeper(tmp_path, tmp_path / "keys" / "keeper.json")
    with installation_at(config_file) as installation:
        clean = tree(tmp_path / "recordings")
        change(tmp_path)
        (tmp_path / "recordings" / "HOW_TO_PAY.txt").write_text("call the attacker\n")
        run_backup(installation, "main", "direct")
        case = opened(
            installation,
            "ransomware",
            indicators="text:call the attacker",
            recovered_services="crm",
            switched_service="crm",
            emergency_mode="callback",
        )
        assert (tmp_path / "callback").exists()
        assert [hold.name for hold in holds(installation.config)] == [case]
        answer(
            installation,
            case,
            isolate="done",
            protect_backups="done",
            memory="done",
            way_in="shut",
            clean_point="older than the earliest trace",
        )
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        assert tree(tmp_path / "live" / "recordings") == clean
        for step in ("degrade", "hold_backups"):
            undo_approved(installation, case, step=step)
            lifecycle.advance(installation, case, "direct")
        assert not (tmp_path / "callback").exists()
        assert holds(installation.config) == []
