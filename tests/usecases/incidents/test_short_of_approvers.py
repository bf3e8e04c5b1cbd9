"""Who is told that nobody here could approve: counted by the rule by which an approval counts."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from standfast.records import StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Place
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.incidents.result_summary import short_of_approvers
from tests.usecases.places import OWNER, PASSPHRASES
from tests.usecases.twins import TwinPlace, twin_place

ACCOUNTS: dict[str, str | list[str]] = {"accounts": ["agents:agent01"]}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    """A place of some days ago, in which lee and kim, who are founding, may approve."""
    with twin_place(tmp_path) as place:
        yield replace(place, clock=lambda: place.clock() + timedelta(days=10))


def enrol(place: Place, name: str, by: str, *, days_ago: float = 5) -> None:
    place.ledger.people.enrol(
        name=name,
        full_name=name.title(),
        mail=f"{name}@example.com",
        accounts=[f"agents:{name}"],
        roles=["duty-manager"],
        public_key="00" * 32,
        salt="00" * 16,
        enrolled_by=by,
        now=place.clock() - timedelta(days=days_ago),
    )


def asks_about_customers(place: TwinPlace) -> str:
    """Bring an incident of dana's to where it asks for approval; then lee and kim are gone."""
    case = place.run("account-takeover")
    step_decisions.answer(place, case, "customers_affected", "yes", by="lee")
    assert place.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    leave(place, "lee", "kim")
    return case


def leave(place: TwinPlace, *names: str) -> None:
    for name in names:
        place.ledger.people.remove(name, OWNER, place.clock())


def told(place: TwinPlace, case: str) -> list[str]:
    return short_of_approvers(place, case, place.ledger.incidents.state(case))


def planned(place: TwinPlace, **more: Any) -> list[str]:
    options: dict[str, Any] = {"is_signed": True, "opened_by": "dana", **more}
    report = plan_incident(place, "account-takeover", ACCOUNTS, **options)
    return [one for one in report.warnings if "could give one now" in one]


def test_whom_the_requester_enrolled_and_whom_those_enrolled_is_nobody_who_could_approve(
    place: TwinPlace,
) -> None:
    enrol(place, "eve", "dana", days_ago=7)
    enrol(place, "fay", "eve")
    case = asks_about_customers(place)
    (line,) = told(place, case)
    assert "`tell_customers` needs 1 approval, and 0 people with the role" in line
    (line,) = planned(place)
    assert line.startswith("step tell_customers needs 1 approval, and 0 people with the role")


def test_who_was_enrolled_by_somebody_else_could(place: TwinPlace) -> None:
    enrol(place, "fay", "kim")
    case = asks_about_customers(place)
    assert told(place, case) == []
    assert planned(place) == []


def test_who_was_enrolled_today_could_not(place: TwinPlace) -> None:
    enrol(place, "fay", "kim", days_ago=0.5)
    case = asks_about_customers(place)
    assert "and 0 people with the role" in told(place, case)[0]
    assert "and 0 people with the role" in planned(place)[0]


def test_who_is_among_the_targets_could_not(place: TwinPlace) -> None:
    enrol(place, "agent01", "kim")
    case = asks_about_customers(place)
    assert "and 0 people with the role" in told(place, case)[0]
    assert "and 0 people with the role" in planned(place)[0]


def test_of_a_plan_that_nobody_signs_one_more_is_needed_and_the_terminals_own_do_not_count(
    place: TwinPlace,
) -> None:
    assert planned(place, is_signed=False, opened_by=None) == []
    leave(place, "kim")
    enrol(place, "fay", place.actor)
    (line,) = planned(place, is_signed=False, opened_by=None)
    assert "needs 2 approvals, and 1 person with the role duty-manager could" in line


def test_who_is_counted_is_whose_word_counts(place: TwinPlace) -> None:
    case = place.run("account-takeover")
    step_decisions.answer(place, case, "customers_affected", "yes", by="lee")
    place.advance(case)
    leave(place, "kim")
    assert told(place, case) == []
    step_decisions.decide(place, case, "tell_customers", "lee", PASSPHRASES["lee"])
    assert place.advance(case).state.steps["tell_customers"].state is StepState.DONE
