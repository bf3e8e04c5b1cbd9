"""What an intruder, a hurried operator or an unlucky moment must not be able to do."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, MemoryDirectory
from standfast.adapters.clients.ldap.client import folded
from standfast.config.schema import ProtectedConfig
from standfast.errors import ApprovalRefused
from standfast.records import EffectState, Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.people.enrolment import enrol_person
from tests.usecases.conftest import Centre
from tests.usecases.places import OWNER, PASSPHRASES, undo_approved
from tests.usecases.twins import TwinPlace, Twins, twin_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    """A live place on SQLite whose outside is twins."""
    with twin_place(tmp_path, "sqlite:///ledger.db") as place:
        yield place


def asks_about_customers(place: TwinPlace) -> str:
    """Bring an incident to where it asks for approval to tell the customers; give its id."""
    case = place.run("account-takeover")
    step_decisions.answer(place, case, "customers_affected", "yes", by="lee")
    assert place.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    return case


# Whom it may lock, and whom it may let in


def test_a_protected_account_is_protected_however_its_name_is_written(centre: Centre) -> None:
    protected = centre.scim.create("break-glass")
    case = centre.open("lock", "Break-Glass", "agents:BREAK-GLASS")
    centre.advance(case)
    assert centre.scim.is_active(protected)
    assert {row.state for row in centre.place.ledger.effects.of_incident(case)} == {
        EffectState.REFUSED
    }


class Folding(MemoryDirectory):
    """A directory that takes for one name what an LDAP server takes for one."""

    def canonical(self, name: str) -> str:
        return folded(name)


@pytest.mark.parametrize("written", ["Jose\u0301  Boss", "jos\u00e9 boss", "\uff2aos\u00e9 Boss"])
@pytest.mark.parametrize("meant", ["Jose\u0301  Boss", "jos\u00e9 boss"])
def test_a_protected_account_is_protected_however_the_place_writes_it(
    tmp_path: Path, written: str, meant: str
) -> None:
    twins = Twins(directory=Folding("agents", {"jos\u00e9 boss": True}))
    with twin_place(tmp_path, "sqlite:///ledger.db", twins) as place:
        protected = ProtectedConfig(accounts={f"agents:{written}": "the way back in"})
        safe = replace(place, config=place.config.replaced(protected=protected))
        case = safe.run("lock", [f"agents:{meant}"])
        (row,) = safe.ledger.effects.of_incident(case)
        assert (row.state, row.reason) == (EffectState.REFUSED, "protected: the way back in")
        assert safe.is_enabled("jos\u00e9 boss")


def test_many_small_incidents_lock_no_more_than_one_person_may(place: TwinPlace) -> None:
    most = place.config.limits.accounts_without_second_person
    names = [f"n{number:03}" for number in range(most)]
    for name in names:
        place.directory.add(name)
    place.run("lock", [f"agents:{name}" for name in names])
    assert not any(place.is_enabled(name) for name in names)
    one_more = place.run("lock")
    assert place.is_enabled("agent01")
    step_decisions.decide(place, one_more, "lock", "lee", PASSPHRASES["lee"])
    place.advance(one_more)
    assert not place.is_enabled("agent01")


def test_an_undo_that_waited_gives_back_nothing_that_another_incident_locked_since(
    place: TwinPlace,
) -> None:
    first = place.run("lock")
    plan = effect_undo.undo(place, first, requested_by="lee")
    assert plan.needs_approvals
    second = place.run("lock")
    step_decisions.decide(place, first, plan.step, "lee", PASSPHRASES["lee"])
    step_decisions.decide(place, first, plan.step, "kim", PASSPHRASES["kim"])
    place.advance(first)
    assert not place.is_enabled("agent01")
    (kept,) = [r for r in place.ledger.effects.of_incident(first) if r.verb == "accounts.unlock"]
    assert kept.state is EffectState.REFUSED
    assert second in kept.reason


def test_what_an_exercise_locked_is_neither_held_nor_the_state_before(place: TwinPlace) -> None:
    place.directory.set_enabled("agent01", False)
    rehearsal = place.open("account-takeover", mode=Mode.EXERCISE)
    place.advance(rehearsal)
    case = place.run("account-takeover")
    plan = effect_undo.undo(place, case, requested_by="dana")
    assert (plan.restores, plan.kept) == (1, ())
    place.advance(case)
    assert not place.is_enabled("agent01"), "it was disabled before the real incident"


def test_a_closed_incident_lends_no_state_from_before(place: TwinPlace) -> None:
    first = place.run("account-takeover")
    lifecycle.close(place, first, by="dana")
    place.directory.set_enabled("agent01", True)
    place.directory.set_enabled("agent01", False)  # left the company since
    second = place.run("account-takeover")
    undo_approved(place, second)
    place.advance(second)
    assert not place.is_enabled("agent01")


def test_whoever_asks_for_a_risky_undo_cannot_be_its_only_approver(place: TwinPlace) -> None:
    case = place.run("lock")
    plan = effect_undo.undo(place, case, requested_by="lee")
    step_decisions.decide(place, case, plan.step, "lee", PASSPHRASES["lee"])
    place.advance(case)
    assert not place.is_enabled("agent01")
    step_decisions.decide(place, case, plan.step, "kim", PASSPHRASES["kim"])
    place.advance(case)
    assert place.is_enabled("agent01")


def test_a_lock_whose_answer_was_lost_is_done_again_where_sessions_may_live_on(
    place: TwinPlace,
) -> None:
    session = place.directory.open_session("agent01")
    place.directory.script("lock", Fault.LOST_REQUEST)
    case = place.open("lock")
    place.directory.set_enabled("agent01", False)  # somebody disabled it, sessions live on
    place.advance(case)
    assert not place.directory.admits(session)


# Approvals


def test_no_spelling_of_an_account_lets_its_holder_approve(centre: Centre) -> None:
    """The directory knows LEE as lee, and so do the enrolment, the plan and the undo."""
    account = centre.scim.create("lee")
    centre.place.ledger.people.remove("kim", OWNER, centre.place.clock())
    case = centre.open("lock", *(f"agents:a{number}" for number in range(200)), "agents:LEE")
    centre.advance(case)
    assert "agents:lee" in {row.target for row in centre.place.ledger.effects.of_incident(case)}
    with pytest.raises(ApprovalRefused, match="among the targets"):
        step_decisions.decide(centre.place, case, "lock", "lee", PASSPHRASES["lee"])
    assert centre.scim.is_active(account)


def test_an_enrolment_spells_accounts_as_their_directory_does(centre: Centre) -> None:
    enrolled = enrol_person(
        centre.place,
        name="finn",
        full_name="Finn",
        mail="finn@example.com",
        roles=[],
        accounts=["agents:FINN", "agents:finn"],
        passphrase="forty quiet windows",
    )
    assert enrolled.person.accounts == ("agents:finn",)


def test_who_is_named_in_the_inputs_approves_nothing_before_the_lock_either(
    place: TwinPlace,
) -> None:
    case = place.open("account-takeover", ["LEE"])
    objection = place.ledger.steps.objection
    assert "among the targets" in objection(case, "lee", ["duty-manager"], place.clock())
    assert objection(case, "kim", ["duty-manager"], place.clock()) == ""


def test_no_way_of_writing_a_letter_hides_whose_account_it_is(tmp_path: Path) -> None:
    """An é of two letters is what some keyboards type, and nothing shows it."""
    twins = Twins(directory=Folding("agents", {"jos\u00e9": True}))
    with twin_place(tmp_path, "sqlite:///ledger.db", twins) as place:
        enrol_person(
            place,
            name="jose",
            full_name="Jos\u00e9",
            mail="jose@example.com",
            roles=["duty-manager"],
            accounts=["agents:jos\u00e9"],
            passphrase="forty quiet windows",
        )
        case = place.open("account-takeover", ["agents:Jose\u0301"])
        objection = place.ledger.steps.objection
        assert "among the targets" in objection(case, "jose", [], place.clock())
        place.advance(case)
        assert effect_undo.plan_undo(place, case, targets=["agents:jose\u0301"]).restores == 1


def test_retrying_pages_that_failed_starts_no_step_that_waits_for_approval(
    place: TwinPlace,
) -> None:
    from standfast.adapters.senders.simulator import TAKEN, Answer

    is_down = True

    def answer(message: object) -> Answer:
        return Answer(state=EffectState.FAILED, reason="relay says 554") if is_down else TAKEN

    case = place.run("account-takeover")
    step_decisions.answer(place, case, "customers_affected", "yes", by="lee")
    place.twins.mail._answer = answer
    place.advance(case)
    is_down = False
    step_decisions.retry(place, case)
    state = place.advance(case).state.steps["tell_customers"]
    assert state.state is StepState.ASKING
    assert place.twins.told("lee@example.com") == 1
    step_decisions.decide(place, case, "tell_customers", "lee", PASSPHRASES["lee"])
    place.advance(case)
    assert place.twins.told("customers1@example.net") == 1


def test_what_an_approver_refused_can_be_asked_again(place: TwinPlace) -> None:
    case = asks_about_customers(place)
    step_decisions.decide(place, case, "tell_customers", "lee", PASSPHRASES["lee"], approves=False)
    assert place.advance(case).state.steps["tell_customers"].state is StepState.REFUSED
    with pytest.raises(ApprovalRefused, match="duty-manager"):
        step_decisions.retry(place, case, "tell_customers")
    assert step_decisions.retry(place, case, by="dana").left == ("tell_customers",)
    assert step_decisions.retry(place, case, "tell_customers", by="lee").count == 1
    view = place.advance(case).state.steps["tell_customers"]
    assert (view.state, view.round, view.approvals) == (StepState.ASKING, 2, 0)
    assert place.twins.told("customers1@example.net") == 0
    step_decisions.decide(place, case, "tell_customers", "lee", PASSPHRASES["lee"])
    place.advance(case)
    assert place.twins.told("customers1@example.net") == 1


def test_an_undo_that_an_approver_refused_can_be_planned_again(place: TwinPlace) -> None:
    case = place.run("lock")
    first = effect_undo.undo(place, case, requested_by="dana")
    step_decisions.decide(place, case, first.step, "lee", PASSPHRASES["lee"], approves=False)
    place.advance(case)
    second = effect_undo.undo(place, case, requested_by="dana")
    assert second.restores == 1
    assert second.step != first.step


def test_an_approver_removed_before_the_act_leaves_it_to_the_others(place: TwinPlace) -> None:
    case = asks_about_customers(place)
    step_decisions.decide(place, case, "tell_customers", "lee", PASSPHRASES["lee"])
    place.ledger.people.remove("lee", OWNER, place.clock())
    assert place.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    assert place.twins.told("customers1@example.net") == 0
    step_decisions.decide(place, case, "tell_customers", "kim", PASSPHRASES["kim"])
    place.advance(case)
    assert place.twins.told("customers1@example.net") == 1
