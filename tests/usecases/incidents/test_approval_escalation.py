"""Escalation of approvals that nobody answers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from standfast.config.schema import ApprovalsConfig
from standfast.errors import ApprovalRefused, Refused
from standfast.people.passphrase_keys import enrol
from standfast.records import StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.health.watchdog import keep_watch
from standfast.usecases.incidents.approval_escalation import page
from standfast.usecases.incidents.lifecycle import has_work
from tests.usecases.incidents.test_concurrency import at_once
from tests.usecases.installations import OWNER, PASSPHRASES
from tests.usecases.twins import SimulatedInstallation

STEP = "tell_customers"  # duty managers may approve it; it escalates after 15 minutes
ERIN = "nine cold stones in a row"


@pytest.fixture
def installation(installation: SimulatedInstallation) -> SimulatedInstallation:
    """An installation with lee, kim, erin (head of security) and max."""
    newcomer(installation, "erin", ["head-of-security"])
    newcomer(installation, "max", [])
    return installation


@pytest.fixture
def laddered(installation: SimulatedInstallation) -> SimulatedInstallation:
    """The same installation with an escalation that ends with erin."""
    ladder = ApprovalsConfig(ladder=("duty-manager", "person:erin"))
    return replace(
        installation, config=installation.config.model_copy(update={"approvals": ladder})
    )


def newcomer(
    installation: SimulatedInstallation, name: str, roles: Sequence[str], *, account: str = ""
) -> None:
    credential = enrol(ERIN)
    installation.ledger.people.enrol(
        name=name,
        full_name=name.title(),
        mail=f"{name}@example.com",
        accounts=[account or f"agents:{name}"],
        roles=roles,
        public_key=credential.public_key,
        salt=credential.salt,
        enrolled_by="os:test",
        now=installation.clock(),
    )


def after(installation: SimulatedInstallation, minutes: float) -> SimulatedInstallation:
    return replace(installation, clock=lambda: installation.clock() + timedelta(minutes=minutes))


def asking(installation: SimulatedInstallation, *accounts: str) -> str:
    case = installation.run("account-takeover", accounts or ("agents:agent01",))
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    assert installation.advance(case).state.steps[STEP].state is StepState.ASKING
    return case


def told(installation: SimulatedInstallation, *names: str) -> list[int]:
    return [installation.twins.told(f"{name}@example.com") for name in names]


def test_levels_and_then_everybody_are_paged_once(
    laddered: SimulatedInstallation,
) -> None:
    case = asking(laddered)
    assert told(laddered, "lee", "kim", "erin", "max") == [1, 1, 0, 0]
    assert not has_work(after(laddered, 14), case), "not before its time"
    after(laddered, 16).advance(case)
    assert told(laddered, "lee", "kim", "erin", "max") == [1, 1, 1, 0]
    after(laddered, 32).advance(case)
    after(laddered, 3000).advance(case)
    assert told(laddered, "lee", "kim", "erin", "max", "dana") == [1, 1, 1, 1, 0]
    outcome = after(laddered, 3000).advance(case)
    assert outcome.state.steps[STEP].state is StepState.ASKING, "it stays open"
    assert outcome.summary.waits_for_people
    assert "everybody was paged" in outcome.summary.next_step


def test_page_contains_the_command_to_sign(
    laddered: SimulatedInstallation,
) -> None:
    case = asking(laddered)
    digest = laddered.ledger.decisions.question(case, STEP).digest
    (page,) = [one for one in laddered.twins.mail.messages if one.address == "lee@example.com"]
    assert f"incident approve {case} {STEP} --digest {digest[:16]} --as lee\n" in page.text


def test_the_watch_escalates_what_nobody_works_on(laddered: SimulatedInstallation) -> None:
    case = asking(laddered)
    assert keep_watch(after(laddered, 16), "serve").resumed == (case,)
    assert told(laddered, "erin") == [1]


def test_paged_people_may_then_approve(
    laddered: SimulatedInstallation,
) -> None:
    case = asking(laddered)
    with pytest.raises(ApprovalRefused, match="lacks the roles"):
        step_decisions.decide(laddered, case, STEP, "erin", ERIN)
    after(laddered, 16).advance(case)
    step_decisions.decide(after(laddered, 17), case, STEP, "erin", ERIN)
    after(laddered, 17).advance(case)
    assert laddered.twins.told("customers1@example.net") == 1


def test_notified_people_gain_no_right(installation: SimulatedInstallation) -> None:
    case = asking(installation)
    after(installation, 16).advance(case)
    assert told(installation, "erin", "max") == [1, 1]
    with pytest.raises(ApprovalRefused, match="lacks the roles"):
        step_decisions.decide(after(installation, 17), case, STEP, "max", ERIN)


def test_empty_role_escalates_at_once(
    laddered: SimulatedInstallation,
) -> None:
    case = laddered.run("account-takeover")
    step_decisions.answer(laddered, case, "customers_affected", "yes", by="lee")
    for name in ("lee", "kim"):
        laddered.ledger.people.remove(name, OWNER, laddered.clock())
    laddered.advance(case)
    assert told(laddered, "lee", "kim", "erin") == [0, 0, 1]


def test_unreachable_level_does_not_stop_the_next(
    laddered: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page_but_not_erin(*args: Any, **more: Any) -> Any:
        if args[4].name == "erin":
            raise Refused("a recipient's 'name' is longer than it may be")
        return page(*args, **more)

    monkeypatch.setattr("standfast.usecases.incidents.approval_escalation.page", page_but_not_erin)
    case = asking(laddered)
    after(laddered, 16).advance(case)
    assert told(laddered, "erin", "max") == [0, 1]
    with pytest.raises(ApprovalRefused, match="lacks the roles"):  # erin has not been asked yet
        step_decisions.decide(after(laddered, 17), case, STEP, "erin", ERIN)
    assert laddered.ledger.incidents.state(case).steps[STEP].escalates_at is None


def test_holder_of_a_target_is_not_paged(installation: SimulatedInstallation) -> None:
    asking(installation, "agents:agent01", "agents:agent02")
    newcomer(installation, "ina", ["duty-manager"], account="agents:agent03")
    case = asking(installation, "agents:agent03")
    assert told(installation, "lee") == [2]
    after(installation, 16).advance(case)
    assert told(installation, "ina") == [0]


def test_answer_in_time_pages_nobody_else(laddered: SimulatedInstallation) -> None:
    case = asking(laddered)
    step_decisions.decide(laddered, case, STEP, "lee", PASSPHRASES["lee"])
    laddered.advance(case)
    after(laddered, 16).advance(case)
    assert told(laddered, "erin", "max") == [0, 0]


def test_runners_at_once_climb_one_level(laddered: SimulatedInstallation) -> None:
    case = asking(laddered)
    later = after(laddered, 16)
    at_once(*[lambda: later.advance(case)] * 3)
    assert told(laddered, "erin", "max") == [1, 0]
    assert laddered.ledger.incidents.state(case).steps[STEP].level == 1
    assert laddered.ledger.audit.verify().is_whole
