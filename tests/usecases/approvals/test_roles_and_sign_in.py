"""Only people with the roles of a step may answer it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.adapters.senders.simulator import Answer
from standfast.errors import ApprovalRefused
from standfast.people.passphrase_keys import enrol
from standfast.records import EffectState, StepState
from standfast.usecases.approvals import effect_settlement, step_decisions
from tests.usecases.installations import OWNER, PASSPHRASES
from tests.usecases.twins import SimulatedInstallation, simulated_installation

STEP = "customers_affected"  # only duty managers may answer it


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """A live installation on SQLite with simulators: dana, lee."""
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        yield installation


Say = Callable[[SimulatedInstallation, str, str | None], object]
WORDS: dict[str, Say] = {
    "answer": lambda installation, case, by: step_decisions.answer(
        installation, case, STEP, "yes", by=by
    ),
    "accept": lambda installation, case, by: step_decisions.accept(installation, case, STEP, by=by),
}


def refused(
    installation: SimulatedInstallation, case: str, by: str | None, say: Say, why: str
) -> None:
    with pytest.raises(ApprovalRefused, match=why):
        say(installation, case, by)
    view = installation.ledger.incidents.state(case).steps[STEP]
    assert (view.state, view.answer, view.is_accepted) == (StepState.PROMPTED, None, False)


@pytest.mark.parametrize("word", WORDS)
def test_unauthorised_answer_is_refused_and_recorded(
    installation: SimulatedInstallation, word: str
) -> None:
    case = installation.run("account-takeover")
    refused(installation, case, None, WORDS[word], "duty-manager.*--as PERSON")
    refused(installation, case, "dana", WORDS[word], "lacks the roles")
    told = installation.ledger.timeline(case)[-1]
    assert (told.actor, told.action, told.detail["step"]) == ("dana", "word.rejected", STEP)


def test_person_with_role_answers_and_is_named(installation: SimulatedInstallation) -> None:
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, STEP, "no", by="lee")
    assert installation.ledger.timeline(case)[-1].actor == "lee"
    installation.advance(case)
    step_decisions.answer(installation, case, "watch", "nothing was found")
    assert installation.ledger.timeline(case)[-1].actor == "os:test", (
        "no role is named: any user may run it"
    )


def test_person_without_role_settles_nothing(
    installation: SimulatedInstallation,
) -> None:
    """Otherwise anybody at the terminal could mark customers as notified."""
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, STEP, "yes", by="lee")
    installation.advance(case)
    step_decisions.decide(installation, case, "tell_customers", "lee", PASSPHRASES["lee"])
    mail = installation.twins.mail
    mail.answer = lambda _message: Answer(state=EffectState.UNKNOWN)
    mail.find = lambda tokens: [None for _ in tokens]
    installation.advance(case)
    rows = installation.ledger.effects.of_incident(case)
    doubts = [row.token for row in rows if row.state is EffectState.UNKNOWN]
    for by in (None, "dana"):
        with pytest.raises(ApprovalRefused, match=r"duty-manager|lacks the roles"):
            effect_settlement.settle(installation, case, doubts[0], happened=True, by=by)
        with pytest.raises(ApprovalRefused, match=r"duty-manager|lacks the roles"):
            effect_settlement.settle_step(
                installation, case, "tell_customers", happened=True, by=by
            )
    settled = effect_settlement.settle_step(
        installation, case, "tell_customers", happened=True, by="lee"
    )
    assert settled.count == len(doubts) == 4
    assert installation.ledger.timeline(case)[-1].actor == "lee"


def test_fresh_enrolment_has_no_role_for_a_day(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    credential = enrol("a brand new passphrase")
    installation.ledger.people.enrol(
        name="eve",
        full_name="Eve",
        mail="eve@example.com",
        accounts=[],
        roles=["duty-manager"],
        public_key=credential.public_key,
        salt=credential.salt,
        enrolled_by="dana",
        now=installation.clock(),
    )
    refused(installation, case, "eve", WORDS["answer"], "less than a day")
    later = replace(installation, clock=lambda: installation.clock() + timedelta(days=1))
    step_decisions.answer(later, case, STEP, "no", by="eve")


def test_removed_or_swapped_person_cannot_sign_in(
    installation: SimulatedInstallation,
) -> None:
    theirs = enrol("the intruder's own phrase")
    with installation.ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE person SET public_key = '{theirs.public_key}', salt = '{theirs.salt}' "
            "WHERE name = 'lee'"
        )
    with pytest.raises(ApprovalRefused, match="changed outside the ledger"):
        step_decisions.authenticated_person(installation, "lee", "the intruder's own phrase")
    installation.ledger.people.remove("kim", OWNER, installation.clock())
    with pytest.raises(ApprovalRefused, match="not enrolled"):
        step_decisions.authenticated_person(installation, "kim", PASSPHRASES["kim"])
    # Without the passphrase, neither the answer nor its time reveals a removed person.
    with pytest.raises(ApprovalRefused, match="not the passphrase"):
        step_decisions.authenticated_person(installation, "kim", "a stranger's own guess")


def test_command_names_the_required_roles(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("account-takeover")
    next_step = installation.advance(case).summary.next_step
    assert f"Answer `yes` or `no` (duty-manager): `standfast incident answer {case}" in next_step
    assert f"{STEP} ANSWER --as PERSON`" in next_step
