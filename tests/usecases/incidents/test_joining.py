"""A repeated or related trigger adds a round to the open incident."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.ledger.schema.column_encryption import ColumnCipher
from standfast.ledger.status_query import query_status
from standfast.records import EffectState, JsonObject, Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, lifecycle
from tests.usecases.incidents.test_concurrency import at_once
from tests.usecases.installations import PASSPHRASES, undo_approved
from tests.usecases.twins import SimulatedInstallation, simulated_installation


def trigger(
    installation: SimulatedInstallation, key: str, *names: str, scenario: str = "account-takeover"
) -> lifecycle.Opened:
    accounts = [f"agents:{name}" for name in names]
    return lifecycle.open_incident(
        installation, scenario, {"accounts": accounts}, mode=Mode.LIVE, trigger=key
    )


def locks(installation: SimulatedInstallation, case: str) -> list[tuple[int, str, int]]:
    return sorted(
        (row.round, row.target, row.tries)
        for row in installation.ledger.effects.of_incident(case)
        if row.verb == "accounts.lock" and row.state is EffectState.DONE
    )


def enabled(installation: SimulatedInstallation, names: Sequence[str]) -> list[bool]:
    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    return [directory.is_enabled(name) for name in names]


def test_new_targets_become_a_round_without_repeats(
    installation: SimulatedInstallation,
) -> None:
    case = trigger(installation, "alert 1", "agent01", "agent02").incident
    installation.advance(case)
    again = trigger(installation, "alert 2", "AGENT02", "agent03")
    assert again == lifecycle.Opened(incident=case, has_joined=True)
    assert lifecycle.has_work(installation, case)
    outcome = installation.advance(case)
    assert enabled(installation, ["agent01", "agent02", "agent03"]) == [False] * 3
    assert locks(installation, case) == [
        (1, "agents:agent01", 1),
        (1, "agents:agent02", 1),
        (2, "agents:agent03", 1),
    ]
    steps = outcome.state.steps
    assert (steps["lock"].round, steps["lock"].counts.done) == (2, 3)
    assert (steps["prove"].round, steps["prove"].counts.done) == (2, 3)
    assert (steps["tell_staff"].round, steps["freeze_logs"].round) == (1, 1)
    assert [installation.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]
    assert not lifecycle.has_work(installation, case)
    assert [one.id for one in installation.ledger.incidents.all(only_open=True)] == [case]
    assert effect_undo.plan_undo(installation, case).restores == 3
    assert installation.ledger.audit.verify().is_whole


def test_directory_decides_about_spellings(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    directory.add("Agent01")
    case = trigger(installation, "alert 1", "agent01").incident
    installation.advance(case)
    assert trigger(installation, "alert 2", "Agent01").incident == case
    installation.advance(case)
    assert enabled(installation, ["agent01", "Agent01"]) == [False, False]

    monkeypatch.setattr(SimulatedConnector, "canonical", lambda _self, name: name.casefold())
    before = locks(installation, case)
    assert trigger(installation, "alert 3", "AGENT01").incident == case
    state = installation.advance(case).state
    assert locks(installation, case) == before
    assert (state.steps["lock"].round, state.steps["lock"].counts.done) == (2, 2)
    assert installation.ledger.incidents.state(case).steps["lock"].counts.refused == 0
    assert not lifecycle.has_work(installation, case)
    assert effect_undo.plan_undo(installation, case).restores == 2


def test_stopped_incident_notes_new_targets(
    installation: SimulatedInstallation,
) -> None:
    case = trigger(installation, "alert 1", "agent01").incident
    installation.advance(case)
    lifecycle.stop(installation, case, by="dana")
    assert trigger(installation, "alert 1", "agent01").is_stopped
    assert lifecycle.look(installation, case).summary.next_step.startswith("Stopped. ")
    again = trigger(installation, "alert 1", "agent02")
    assert again == lifecycle.Opened(incident=case, has_joined=True, is_stopped=True)
    told = installation.advance(case).summary.next_step
    assert enabled(installation, ["agent01", "agent02"]) == [False, True]
    assert "Targets were added" in told
    assert f"`standfast incident status {case} --targets`" in told
    assert f"`standfast incident resume {case} --as PERSON`" in told
    (seen,) = query_status(installation.config.ledger.url, installation.clock()).incidents
    assert seen.joined == 1
    lifecycle.resume(installation, case, by="dana")
    installation.advance(case)
    assert enabled(installation, ["agent01", "agent02"]) == [False, False]
    assert not trigger(installation, "alert 1", "agent01").is_stopped
    lifecycle.close(installation, case, by="dana")


def test_trigger_without_new_targets_changes_nothing(installation: SimulatedInstallation) -> None:
    case = trigger(installation, "alert 1", "agent01").incident
    installation.advance(case)
    for key in ("alert 1", "alert 2"):
        assert trigger(installation, key, "agent01").incident == case
    assert installation.ledger.timeline(case)[-1].action == "trigger.repeated"
    assert not lifecycle.has_work(installation, case)


def test_different_trigger_opens_its_own_incident(
    installation: SimulatedInstallation,
) -> None:
    case = trigger(installation, "alert 1", "agent01").incident
    assert trigger(installation, "alert 2", "agent02").incident != case
    assert trigger(installation, "alert 3", "agent01", scenario="lock").incident != case
    lifecycle.close(installation, case, by="dana")
    assert trigger(installation, "alert 4", "agent01").incident != case


@pytest.mark.parametrize("spelt", ["agents:agent01", "agent01"])
def test_unlocked_account_is_locked_again_alone(
    installation: SimulatedInstallation, spelt: str
) -> None:
    case = trigger(installation, "alert 1", "agent01", "agent02", scenario="lock").incident
    installation.advance(case)
    effect_undo.undo(installation, case, requested_by="lee")
    for name in ("lee", "kim"):  # two approvals are needed, because this playbook proves no lock
        step_decisions.decide(installation, case, "undo-1", name, PASSPHRASES[name])
    installation.advance(case)
    assert enabled(installation, ["agent01", "agent02"]) == [True, True]
    again = lifecycle.open_incident(
        installation, "lock", {"accounts": [spelt]}, mode=Mode.LIVE, trigger="alert 2"
    )
    assert not again.has_joined
    installation.advance(again.incident)
    assert enabled(installation, ["agent01", "agent02"]) == [False, True]
    repeated = trigger(installation, "alert 2", "agent01", scenario="lock")
    assert repeated == lifecycle.Opened(incident=again.incident, has_joined=True)
    assert effect_undo.plan_undo(installation, again.incident).restores == 1


def test_same_trigger_does_not_relock(
    installation: SimulatedInstallation,
) -> None:
    case = trigger(installation, "alert 1", "agent01", "agent02").incident
    installation.advance(case)
    undo_approved(installation, case, targets=["agents:agent01"])
    installation.advance(case)
    again = trigger(installation, "alert 1", "agent01", "agent02")
    assert again == lifecycle.Opened(incident=case, has_joined=True)
    installation.advance(case)
    assert enabled(installation, ["agent01", "agent02"]) == [True, False]
    assert [installation.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]


def test_locked_account_joins_despite_other_undos(
    installation: SimulatedInstallation,
) -> None:
    case = trigger(installation, "alert 1", "agent01", "agent02").incident
    installation.advance(case)
    undo_approved(installation, case, targets=["agents:agent01"])
    installation.advance(case)
    assert enabled(installation, ["agent01", "agent02"]) == [True, False]
    assert trigger(installation, "alert 2", "agent02").incident == case
    assert trigger(installation, "alert 2", "agent01").incident != case


def test_failed_lock_is_retried_by_another_trigger(
    installation: SimulatedInstallation,
) -> None:
    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    directory.script("lock", Fault.FAIL, target="agent01")
    failed = installation.run("lock", ["agents:agent01", "agents:agent02"])
    absent = installation.run("lock", ["agents:later", "elsewhere:later"])
    assert enabled(installation, ["agent01", "agent02"]) == [True, False]
    directory.add("later")
    for key, name, before in (("alert 1", "agent01", failed), ("alert 2", "later", absent)):
        again = trigger(installation, key, name, scenario="lock")
        assert not again.has_joined, f"{before} leaves {name} open"
        installation.advance(again.incident)
        assert enabled(installation, [name]) == [False]
        assert trigger(installation, key, name, scenario="lock").incident == again.incident
    assert trigger(installation, "alert 3", "agent02", scenario="lock").incident == failed
    nowhere = lifecycle.open_incident(
        installation, "lock", {"accounts": ["elsewhere:later"]}, mode=Mode.LIVE, trigger="alert 4"
    )
    assert not nowhere.has_joined


def more_than_one_may_lock(installation: SimulatedInstallation) -> list[str]:
    directory = installation.twins.directory
    assert isinstance(directory, SimulatedConnector)
    many = [f"x{number:03}" for number in range(201)]
    for name in many:
        directory.add(name)
    return many


def test_refused_lock_is_asked_again(
    installation: SimulatedInstallation,
) -> None:
    many = more_than_one_may_lock(installation)
    case = installation.run("lock", [f"agents:{name}" for name in many])
    step_decisions.decide(installation, case, "lock", "lee", PASSPHRASES["lee"], approves=False)
    installation.advance(case)
    again = trigger(installation, "alert", "x001", scenario="lock")
    assert not again.has_joined
    installation.advance(again.incident)
    assert enabled(installation, ["x001", "x002"]) == [False, True]


def test_joined_targets_use_nobodys_sign_in(
    installation: SimulatedInstallation,
) -> None:
    many = more_than_one_may_lock(installation)
    case = installation.run("lock", ["agents:agent01"])
    assert trigger(installation, "alert", "agent01", *many, scenario="lock").incident == case
    view = installation.advance(case).state.steps["lock"]
    assert (view.state, view.approvals_needed) == (StepState.ASKING, 2)
    assert all(enabled(installation, many))
    for name in ("lee", "kim"):
        step_decisions.decide(installation, case, "lock", name, PASSPHRASES[name])
    installation.advance(case)
    assert not any(enabled(installation, many))


def test_repeat_detection_opens_no_other_incident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        cases = [trigger(installation, f"alert {n}", f"x{n}").incident for n in range(60)]
        opened = watch_what_is_opened(installation, monkeypatch)
        assert trigger(installation, "another", "X59", "new").incident == cases[59]
        assert opened == [f"incident {cases[59]}"]
        assert trigger(installation, "a third", "NEW").incident == cases[59]
        assert trigger(installation, "alert 7", "elsewhere").incident == cases[7]
        opened.clear()
        assert trigger(installation, "nobody knows", "unheard").incident not in cases
        assert opened == []


def watch_what_is_opened(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Record the context of every value that is decrypted later."""
    opened: list[str] = []
    real = type(installation.ledger.cipher).open

    def noted(vault: ColumnCipher, scope: str, context: str, sealed: bytes) -> JsonObject:
        opened.append(context)
        return real(vault, scope, context, sealed)

    monkeypatch.setattr(type(installation.ledger.cipher), "open", noted)
    return opened


def test_simultaneous_alerts_open_one_incident(
    installation: SimulatedInstallation,
) -> None:
    case = trigger(installation, "alert 0", "agent01").incident
    at_once(
        lambda: trigger(installation, "alert 1", "agent01", "agent02"),
        lambda: trigger(installation, "alert 2", "agent01", "agent03"),
        lambda: installation.advance(case),
    )
    installation.advance(case)
    assert enabled(installation, ["agent01", "agent02", "agent03"]) == [False] * 3
    assert {tries for _, _, tries in locks(installation, case)} == {1}
