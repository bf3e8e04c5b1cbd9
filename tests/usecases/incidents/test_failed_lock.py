"""A directory that is down in the night: nobody is notified, and the operator sees why."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, MemoryDirectory
from standfast.adapters.senders.simulator import Answer, MemorySender
from standfast.errors import ExitStatus, Refused, UsageError
from standfast.playbook.engine import standing_state
from standfast.records import EffectState, Limits, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents.lifecycle import close, look
from standfast.usecases.incidents.outcome import Outcome
from tests.usecases.places import PASSPHRASES
from tests.usecases.twins import TwinPlace, Twins, twin_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    """A live place whose directory fails at every lock."""
    with twin_place(tmp_path, "sqlite:///ledger.db") as place:
        assert isinstance(place.twins.directory, MemoryDirectory)
        place.twins.directory.script("lock", Fault.FAIL, times=1)
        yield place


def came_to(outcome: Outcome, step: str) -> StepState | None:
    view = outcome.state.steps.get(step)
    return standing_state(view) if view else None


@pytest.mark.parametrize("scenario", ["account-takeover", "agent-vishing"])
def test_failed_lock_notifies_nobody(place: TwinPlace, scenario: str) -> None:
    """As a webhook opens it: nobody signed in. The intruder may read every mail."""
    case = place.open(scenario, opened_by=None, trigger="siem:1")
    outcome = place.advance(case)
    assert came_to(outcome, "lock") is StepState.FAILED
    assert came_to(outcome, "tell_staff") is None
    step_decisions.answer(place, case, "customers_affected", "yes", by="lee")
    assert came_to(place.advance(case), "start_clocks") is StepState.DONE, "no clock waits for it"
    assert place.twins.mail.messages == []

    step_decisions.accept(place, case, "lock")  # a person decides
    assert came_to(place.advance(case), "tell_staff") is StepState.DONE
    assert place.twins.told("staff1@example.net") == 1


def test_partial_lock_notifies_nobody(place: TwinPlace) -> None:
    case = place.open("account-takeover", [f"agents:agent0{n}" for n in (1, 2, 3)])
    outcome = place.advance(case)
    assert came_to(outcome, "lock") is StepState.PARTIAL
    assert came_to(outcome, "prove") is not None, "what is locked is proven all the same"
    assert place.twins.told("staff1@example.net") == 0
    step_decisions.retry(place, case, "lock")
    place.advance(case)
    assert place.twins.told("staff1@example.net") == 1


def test_a_failed_lock_is_no_mere_question_to_who_reads_the_exit_status(place: TwinPlace) -> None:
    case = place.open("account-takeover")
    outcome = place.advance(case)
    assert outcome.standing.waits_for_people
    assert outcome.exit_status is ExitStatus.FAILED
    assert isinstance(place.twins.directory, MemoryDirectory)
    place.twins.directory.set_enabled("agent01", False)  # somebody locked it by hand
    step_decisions.accept(place, case, "lock")
    assert place.advance(case).exit_status is ExitStatus.WAITS_FOR_PEOPLE


def test_a_failed_lock_is_the_next_step_and_a_retry_lets_the_proof_begin(place: TwinPlace) -> None:
    case = place.open("account-takeover")
    outcome = place.advance(case)
    assert outcome.standing.next_step.startswith("`lock` holds up `prove`")
    assert f"`standfast incident retry {case} lock`" in outcome.standing.next_step
    assert "or do it by hand and go on without it" in outcome.standing.next_step
    assert came_to(outcome, "prove") is None
    step_decisions.retry(place, case, "lock")
    outcome = place.advance(case)
    assert came_to(outcome, "lock") is StepState.DONE
    assert came_to(outcome, "prove") is StepState.DONE
    assert place.twins.told("staff1@example.net") == 1


def test_a_relay_that_is_down_as_well_does_not_keep_the_terminal_from_asking(
    tmp_path: Path,
) -> None:
    later = Answer(state=EffectState.FAILED, retry_after_seconds=120)
    away = MemorySender(name="mail", answer=lambda _: later, limits=Limits(timeout_seconds=0.05))
    with twin_place(tmp_path, "sqlite:///ledger.db", Twins(mail=away)) as place:
        began = time.monotonic()
        outcome = place.advance(place.open("account-takeover"))
        assert time.monotonic() - began < 110  # the relay asks for two minutes, four times over
    assert came_to(outcome, "tell_staff") is StepState.RUNNING
    assert "Are customers affected" in str(outcome.standing.asked)


def test_of_what_is_closed_nothing_is_said_any_more(place: TwinPlace) -> None:
    case = place.run("account-takeover")
    close(place, case, by="dana")
    for say in (
        lambda: step_decisions.answer(place, case, "customers_affected", "yes", by="lee"),
        lambda: step_decisions.accept(place, case, "lock"),
        lambda: step_decisions.retry(place, case),
        lambda: step_decisions.decide(place, case, "lock", "lee", PASSPHRASES["lee"]),
    ):
        with pytest.raises(Refused, match="is closed"):
            say()
    assert look(place, case).standing.next_step.startswith("Closed: nothing more of it happens.")


def test_a_step_that_is_none_is_told_by_the_steps_that_there_are(place: TwinPlace) -> None:
    case = place.run("account-takeover")
    with pytest.raises(UsageError, match="has no step 'nosuch'; its steps are: freeze_logs"):
        step_decisions.accept(place, case, "nosuch")
    with pytest.raises(UsageError, match=r"no step of .* asks for approval; `standfast incident"):
        step_decisions.decide(place, case, None, "lee", PASSPHRASES["lee"])
