"""Abuses and accidents that an incident must not permit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.adapters.clients.ldap.entries import folded
from standfast.config.schema import ProtectedConfig
from standfast.errors import ApprovalRefused
from standfast.records import EffectState, Mode, StepState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.people.enrolment import enrol_person
from tests.usecases.conftest import Centre
from tests.usecases.installations import OWNER, PASSPHRASES, undo_approved
from tests.usecases.twins import SimulatedInstallation, Twins, simulated_installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """Live SQLite installation with simulators."""
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        yield installation


def asks_about_customers(installation: SimulatedInstallation) -> str:
    """Run an incident to its request for approval; return its id."""
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    assert installation.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    return case


# Accounts that an incident may lock and unlock


def test_protected_account_is_protected_in_every_spelling(centre: Centre) -> None:
    protected = centre.scim.create("break-glass")
    case = centre.open("lock", "Break-Glass", "agents:BREAK-GLASS")
    centre.advance(case)
    assert centre.scim.is_active(protected)
    assert {row.state for row in centre.installation.ledger.effects.of_incident(case)} == {
        EffectState.REFUSED
    }


class Folding(SimulatedConnector):
    """A directory that treats names as equal where an LDAP server does."""

    def canonical(self, name: str) -> str:
        return folded(name)


@pytest.mark.parametrize("written", ["Jose\u0301  Boss", "jos\u00e9 boss", "\uff2aos\u00e9 Boss"])
@pytest.mark.parametrize("meant", ["Jose\u0301  Boss", "jos\u00e9 boss"])
def test_protection_list_accepts_every_spelling(tmp_path: Path, written: str, meant: str) -> None:
    twins = Twins(directory=Folding("agents", {"jos\u00e9 boss": True}))
    with simulated_installation(tmp_path, "sqlite:///ledger.db", twins) as installation:
        protected = ProtectedConfig(accounts={f"agents:{written}": "the way back in"})
        safe = replace(
            installation, config=installation.config.model_copy(update={"protected": protected})
        )
        case = safe.run("lock", [f"agents:{meant}"])
        (row,) = safe.ledger.effects.of_incident(case)
        assert (row.state, row.reason) == (EffectState.REFUSED, "protected: the way back in")
        assert safe.is_enabled("jos\u00e9 boss")


def test_small_incidents_share_the_limit(
    installation: SimulatedInstallation,
) -> None:
    most = installation.config.limits.accounts_without_second_person
    names = [f"n{number:03}" for number in range(most)]
    for name in names:
        installation.directory.add(name)
    installation.run("lock", [f"agents:{name}" for name in names])
    assert not any(installation.is_enabled(name) for name in names)
    one_more = installation.run("lock")
    assert installation.is_enabled("agent01")
    step_decisions.decide(installation, one_more, "lock", "lee", PASSPHRASES["lee"])
    installation.advance(one_more)
    assert not installation.is_enabled("agent01")


def test_waiting_undo_respects_later_locks(
    installation: SimulatedInstallation,
) -> None:
    first = installation.run("lock")
    plan = effect_undo.undo(installation, first, requested_by="lee")
    assert plan.needs_approvals
    second = installation.run("lock")
    step_decisions.decide(installation, first, plan.step, "lee", PASSPHRASES["lee"])
    step_decisions.decide(installation, first, plan.step, "kim", PASSPHRASES["kim"])
    installation.advance(first)
    assert not installation.is_enabled("agent01")
    (kept,) = [
        r for r in installation.ledger.effects.of_incident(first) if r.verb == "accounts.unlock"
    ]
    assert kept.state is EffectState.REFUSED
    assert second in kept.reason


def test_exercise_lock_is_no_prior_state(
    installation: SimulatedInstallation,
) -> None:
    installation.directory.set_enabled("agent01", False)
    rehearsal = installation.open("account-takeover", mode=Mode.EXERCISE)
    installation.advance(rehearsal)
    case = installation.run("account-takeover")
    plan = effect_undo.undo(installation, case, requested_by="dana")
    assert (plan.restores, plan.kept) == (1, ())
    installation.advance(case)
    assert not installation.is_enabled("agent01"), "it was disabled before the real incident"


def test_closed_incident_passes_on_no_prior_state(installation: SimulatedInstallation) -> None:
    first = installation.run("account-takeover")
    lifecycle.close(installation, first, by="dana")
    installation.directory.set_enabled("agent01", True)
    installation.directory.set_enabled("agent01", False)  # because the agent left the company
    second = installation.run("account-takeover")
    undo_approved(installation, second)
    installation.advance(second)
    assert not installation.is_enabled("agent01")


def test_requester_of_risky_undo_needs_another_approver(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("lock")
    plan = effect_undo.undo(installation, case, requested_by="lee")
    step_decisions.decide(installation, case, plan.step, "lee", PASSPHRASES["lee"])
    installation.advance(case)
    assert not installation.is_enabled("agent01")
    step_decisions.decide(installation, case, plan.step, "kim", PASSPHRASES["kim"])
    installation.advance(case)
    assert installation.is_enabled("agent01")


def test_lost_lock_is_repeated_if_sessions_may_live(
    installation: SimulatedInstallation,
) -> None:
    session = installation.directory.open_session("agent01")
    installation.directory.script("lock", Fault.LOST_REQUEST)
    case = installation.open("lock")
    # An administrator disabled the account; its sessions remain open.
    installation.directory.set_enabled("agent01", False)
    installation.advance(case)
    assert not installation.directory.admits(session)


# Approvals


def test_no_spelling_lets_a_holder_approve(centre: Centre) -> None:
    """The directory reads LEE as lee; so must enrolment, plan and undo."""
    account = centre.scim.create("lee")
    centre.installation.ledger.people.remove("kim", OWNER, centre.installation.clock())
    case = centre.open("lock", *(f"agents:a{number}" for number in range(200)), "agents:LEE")
    centre.advance(case)
    assert "agents:lee" in {
        row.target for row in centre.installation.ledger.effects.of_incident(case)
    }
    with pytest.raises(ApprovalRefused, match="among the targets"):
        step_decisions.decide(centre.installation, case, "lock", "lee", PASSPHRASES["lee"])
    assert centre.scim.is_active(account)


def test_an_enrolment_spells_accounts_as_their_directory_does(centre: Centre) -> None:
    enrolled = enrol_person(
        centre.installation,
        name="finn",
        full_name="Finn",
        mail="finn@example.com",
        roles=[],
        accounts=["agents:FINN", "agents:finn"],
        passphrase="forty quiet windows",
    )
    assert enrolled.person.accounts == ("agents:finn",)


def test_named_person_approves_nothing_before_the_lock(
    installation: SimulatedInstallation,
) -> None:
    case = installation.open("account-takeover", ["LEE"])
    objection = installation.ledger.decisions.objection
    assert "among the targets" in objection(case, "lee", ["duty-manager"], installation.clock())
    assert objection(case, "kim", ["duty-manager"], installation.clock()) == ""


def test_no_letter_variant_hides_the_holder(tmp_path: Path) -> None:
    """Some keyboards write é as two characters, which look the same."""
    twins = Twins(directory=Folding("agents", {"jos\u00e9": True}))
    with simulated_installation(tmp_path, "sqlite:///ledger.db", twins) as installation:
        enrol_person(
            installation,
            name="jose",
            full_name="Jos\u00e9",
            mail="jose@example.com",
            roles=["duty-manager"],
            accounts=["agents:jos\u00e9"],
            passphrase="forty quiet windows",
        )
        case = installation.open("account-takeover", ["agents:Jose\u0301"])
        objection = installation.ledger.decisions.objection
        assert "among the targets" in objection(case, "jose", [], installation.clock())
        installation.advance(case)
        assert (
            effect_undo.plan_undo(installation, case, targets=["agents:jose\u0301"]).restores == 1
        )


def test_retried_pages_start_no_waiting_step(
    installation: SimulatedInstallation,
) -> None:
    from standfast.adapters.senders.simulator import TAKEN, Answer

    is_down = True

    def answer(message: object) -> Answer:
        return Answer(state=EffectState.FAILED, reason="relay says 554") if is_down else TAKEN

    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.twins.mail.answer = answer
    installation.advance(case)
    is_down = False
    step_retry.retry(installation, case)
    state = installation.advance(case).state.steps["tell_customers"]
    assert state.state is StepState.ASKING
    assert installation.twins.told("lee@example.com") == 1
    step_decisions.decide(installation, case, "tell_customers", "lee", PASSPHRASES["lee"])
    installation.advance(case)
    assert installation.twins.told("customers1@example.net") == 1


def test_refused_step_can_be_requested_again(installation: SimulatedInstallation) -> None:
    case = asks_about_customers(installation)
    step_decisions.decide(
        installation, case, "tell_customers", "lee", PASSPHRASES["lee"], approves=False
    )
    assert installation.advance(case).state.steps["tell_customers"].state is StepState.REFUSED
    with pytest.raises(ApprovalRefused, match="duty-manager"):
        step_retry.retry(installation, case, "tell_customers")
    assert step_retry.retry(installation, case, by="dana").left == ("tell_customers",)
    assert step_retry.retry(installation, case, "tell_customers", by="lee").count == 1
    view = installation.advance(case).state.steps["tell_customers"]
    assert (view.state, view.round, view.approvals) == (StepState.ASKING, 2, 0)
    assert installation.twins.told("customers1@example.net") == 0
    step_decisions.decide(installation, case, "tell_customers", "lee", PASSPHRASES["lee"])
    installation.advance(case)
    assert installation.twins.told("customers1@example.net") == 1


def test_refused_undo_can_be_planned_again(
    installation: SimulatedInstallation,
) -> None:
    case = installation.run("lock")
    first = effect_undo.undo(installation, case, requested_by="dana")
    step_decisions.decide(installation, case, first.step, "lee", PASSPHRASES["lee"], approves=False)
    installation.advance(case)
    second = effect_undo.undo(installation, case, requested_by="dana")
    assert second.restores == 1
    assert second.step != first.step


def test_removed_approver_leaves_the_others(
    installation: SimulatedInstallation,
) -> None:
    case = asks_about_customers(installation)
    step_decisions.decide(installation, case, "tell_customers", "lee", PASSPHRASES["lee"])
    installation.ledger.people.remove("lee", OWNER, installation.clock())
    assert installation.advance(case).state.steps["tell_customers"].state is StepState.ASKING
    assert installation.twins.told("customers1@example.net") == 0
    step_decisions.decide(installation, case, "tell_customers", "kim", PASSPHRASES["kim"])
    installation.advance(case)
    assert installation.twins.told("customers1@example.net") == 1
