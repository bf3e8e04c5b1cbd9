"""A notice that was stopped in its abort window waits for a person.

Attack: an intruder wants a wrong notice to be sent, and waits until somebody stops the incident.
The operator resumes it to unlock the accounts. By then the abort window is over, and every
recipient would be notified without a question. Uses a real directory and a real mail server.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.playbook.status.unstarted_work import not_begun
from standfast.records import EffectState, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.health.watchdog import needs_runner
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.notices import staged_sending
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.conftest import Centre
from tests.usecases.installations import (
    PASSPHRASES,
    enrol_people,
    furnish,
    installation_at,
    undo_approved,
)

NOTICE = "tell_customers"
CUSTOMERS = 20
WINDOW = timedelta(hours=1)  # longer than a runner sits and waits


@pytest.fixture
def centre(tmp_path: Path, scim_server: ScimServer, smtp_server: SmtpServer) -> Iterator[Centre]:
    """An installation with an abort window of an hour for notices."""
    config_file = furnish(
        tmp_path, scim_url=scim_server.url, smtp_port=smtp_server.port, customers=CUSTOMERS
    )
    with installation_at(config_file, token=scim_server.token) as installation:
        enrol_people(installation)
        notices = installation.config.notices.model_copy(
            update={"abort_window_seconds": int(WINDOW.total_seconds())}
        )
        installation = replace(
            installation, config=installation.config.model_copy(update={"notices": notices})
        )
        yield Centre(
            installation=installation, config_file=config_file, scim=scim_server, smtp=smtp_server
        )


@pytest.fixture
def account(centre: Centre) -> str:
    return centre.scim.create("agent01")


@pytest.fixture
def case(centre: Centre, account: str) -> str:
    """A takeover that was stopped while its approved notice waited."""
    case = centre.open("account-takeover", "agents:agent01")
    centre.advance(case)
    step_decisions.answer(centre.installation, case, "customers_affected", "yes", by="lee")
    centre.advance(case)
    step_decisions.decide(centre.installation, case, NOTICE, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    lifecycle.stop(centre.installation, case, by="dana")
    pass_time(centre, WINDOW + timedelta(minutes=1))
    return case


def pass_time(centre: Centre, length: timedelta) -> None:
    clock = centre.installation.clock
    centre.installation = replace(centre.installation, clock=lambda: clock() + length)


def customers_told(centre: Centre) -> int:
    return sum(centre.mails_to(f"customer{n}@example.net") for n in range(1, CUSTOMERS + 1))


def undo_all(centre: Centre, case: str) -> effect_undo.UndoPlan:
    return undo_approved(centre.installation, case)


def test_resuming_begins_the_abort_window_again(centre: Centre, case: str) -> None:
    left = {one.step: one for one in not_begun(lifecycle.look(centre.installation, case).state)}
    assert (left[NOTICE].is_notice, left[NOTICE].planned) == (True, CUSTOMERS)
    lifecycle.resume(centre.installation, case, by="dana")
    centre.advance(case)
    assert customers_told(centre) == 0
    lifecycle.stop(
        centre.installation, case, by="dana"
    )  # somebody reads what resuming sends, and stops it again
    pass_time(centre, WINDOW * 2)
    centre.advance(case)
    assert customers_told(centre) == 0
    lifecycle.resume(centre.installation, case, by="dana")
    pass_time(centre, WINDOW + timedelta(minutes=1))
    centre.advance(case)
    assert customers_told(centre) == CUSTOMERS


def test_undo_needs_no_resumption(centre: Centre, account: str, case: str) -> None:
    assert undo_all(centre, case).restores == 1
    assert needs_runner(centre.installation, case), "a watch carries it out without being asked"
    outcome = centre.advance(case)
    assert centre.scim.is_active(account)
    assert customers_told(centre) == 0
    assert outcome.state.is_stopped_or_closed
    assert outcome.exit_status is ExitStatus.DONE
    assert not needs_runner(centre.installation, case)


def test_stopped_notice_is_given_up_alone(centre: Centre, case: str) -> None:
    assert staged_sending.stop(centre.installation, case, NOTICE, "wrong audience") == CUSTOMERS
    lifecycle.resume(centre.installation, case, by="dana")
    pass_time(centre, WINDOW * 2)
    state = centre.advance(case).state
    assert customers_told(centre) == 0
    assert state.steps[NOTICE].state is StepState.FAILED
    assert state.steps["reuse"].state is StepState.DONE, "the rest goes on"


def test_stop_pauses_a_running_undo(centre: Centre, account: str, case: str) -> None:
    first = undo_all(centre, case)
    lifecycle.stop(centre.installation, case, by="dana")  # the wrong account was unlocked
    assert not needs_runner(centre.installation, case)
    centre.advance(case)
    assert not centre.scim.is_active(account)

    second = undo_all(centre, case)
    assert (first.step, second.step) == ("undo-1", "undo-2")
    centre.advance(case)
    assert centre.scim.is_active(account)
    undos = {row.step: row.state for row in centre.installation.ledger.effects.of_incident(case)}
    assert (undos["undo-1"], undos["undo-2"]) == (EffectState.REFUSED, EffectState.DONE)
    assert centre.installation.ledger.audit.verify().findings == ()


def test_paused_undo_goes_on_when_resumed(centre: Centre, account: str, case: str) -> None:
    undo_all(centre, case)
    lifecycle.stop(centre.installation, case, by="dana")
    lifecycle.resume(centre.installation, case, by="dana")
    centre.advance(case)
    assert centre.scim.is_active(account)


def test_closed_incident_gives_nothing_back(centre: Centre, account: str, case: str) -> None:
    undo_all(centre, case)
    lifecycle.close(centre.installation, case, by="dana")
    assert not needs_runner(centre.installation, case)
    centre.advance(case)
    assert not centre.scim.is_active(account)
