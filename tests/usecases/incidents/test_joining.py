"""A trigger that comes again, or about the same accounts: one incident, and a further round."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, MemoryDirectory
from standfast.ledger.schema.column_encryption import Vault
from standfast.ledger.status_query import glance
from standfast.records import EffectState, JsonObject, Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, lifecycle
from tests.usecases.incidents.test_concurrency import at_once
from tests.usecases.places import PASSPHRASES, undo_approved
from tests.usecases.twins import TwinPlace, twin_place


def trigger(
    place: TwinPlace, key: str, *names: str, scenario: str = "account-takeover"
) -> lifecycle.Opened:
    accounts = [f"agents:{name}" for name in names]
    return lifecycle.open_incident(
        place, scenario, {"accounts": accounts}, mode=Mode.LIVE, trigger=key
    )


def locks(place: TwinPlace, case: str) -> list[tuple[int, str, int]]:
    return sorted(
        (row.round, row.target, row.tries)
        for row in place.ledger.effects.of_incident(case)
        if row.verb == "accounts.lock" and row.state is EffectState.DONE
    )


def enabled(place: TwinPlace, names: Sequence[str]) -> list[bool]:
    directory = place.twins.directory
    assert isinstance(directory, MemoryDirectory)
    return [directory.is_enabled(name) for name in names]


def test_new_targets_become_a_further_round_of_the_same_steps_and_nobody_is_told_twice(
    place: TwinPlace,
) -> None:
    case = trigger(place, "alert 1", "agent01", "agent02").incident
    place.advance(case)
    again = trigger(place, "alert 2", "AGENT02", "agent03")
    assert again == lifecycle.Opened(incident=case, has_joined=True)
    assert lifecycle.has_work(place, case)
    outcome = place.advance(case)
    assert enabled(place, ["agent01", "agent02", "agent03"]) == [False] * 3
    assert locks(place, case) == [
        (1, "agents:agent01", 1),
        (1, "agents:agent02", 1),
        (2, "agents:agent03", 1),
    ]
    steps = outcome.state.steps
    assert (steps["lock"].round, steps["lock"].counts.done) == (2, 3)
    assert (steps["prove"].round, steps["prove"].counts.done) == (2, 3)
    assert (steps["tell_staff"].round, steps["freeze_logs"].round) == (1, 1)
    assert [place.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]
    assert not lifecycle.has_work(place, case)
    assert [one.id for one in place.ledger.incidents.all(only_open=True)] == [case]
    assert effect_undo.plan_undo(place, case).restores == 3
    assert place.ledger.audit.verify().is_whole


def test_whether_another_spelling_is_another_account_is_its_directorys_to_say(
    place: TwinPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = place.twins.directory
    assert isinstance(directory, MemoryDirectory)
    directory.add("Agent01")
    case = trigger(place, "alert 1", "agent01").incident
    place.advance(case)
    assert trigger(place, "alert 2", "Agent01").incident == case
    place.advance(case)
    assert enabled(place, ["agent01", "Agent01"]) == [False, False]

    monkeypatch.setattr(MemoryDirectory, "canonical", lambda _self, name: name.casefold())
    before = locks(place, case)
    assert trigger(place, "alert 3", "AGENT01").incident == case
    state = place.advance(case).state
    assert locks(place, case) == before
    assert (state.steps["lock"].round, state.steps["lock"].counts.done) == (2, 2)
    assert place.ledger.incidents.state(case).steps["lock"].counts.refused == 0
    assert not lifecycle.has_work(place, case)
    assert effect_undo.plan_undo(place, case).restores == 2


def test_what_joins_a_stopped_incident_is_told_and_waits_until_it_goes_on(place: TwinPlace) -> None:
    case = trigger(place, "alert 1", "agent01").incident
    place.advance(case)
    lifecycle.stop(place, case, by="dana")
    assert trigger(place, "alert 1", "agent01").is_stopped
    assert lifecycle.look(place, case).standing.next_step.startswith("Stopped. ")
    again = trigger(place, "alert 1", "agent02")
    assert again == lifecycle.Opened(incident=case, has_joined=True, is_stopped=True)
    told = place.advance(case).standing.next_step
    assert enabled(place, ["agent01", "agent02"]) == [False, True]
    assert "a trigger has brought it more targets, to which nothing is done" in told
    assert f"`standfast incident status {case} --targets`" in told
    assert f"`standfast incident resume {case} --as PERSON`" in told
    (seen,) = glance(place.config.ledger.url, None, place.clock()).incidents
    assert seen.joined == 1
    lifecycle.resume(place, case, by="dana")
    place.advance(case)
    assert enabled(place, ["agent01", "agent02"]) == [False, False]
    assert not trigger(place, "alert 1", "agent01").is_stopped
    lifecycle.close(place, case, by="dana")


def test_what_brings_nothing_new_changes_nothing(place: TwinPlace) -> None:
    case = trigger(place, "alert 1", "agent01").incident
    place.advance(case)
    for key in ("alert 1", "alert 2"):
        assert trigger(place, key, "agent01").incident == case
    assert place.ledger.timeline(case)[-1].action == "trigger.repeated"
    assert not lifecycle.has_work(place, case)


def test_another_account_another_scenario_and_a_closed_incident_open_their_own(
    place: TwinPlace,
) -> None:
    case = trigger(place, "alert 1", "agent01").incident
    assert trigger(place, "alert 2", "agent02").incident != case
    assert trigger(place, "alert 3", "agent01", scenario="lock").incident != case
    lifecycle.close(place, case, by="dana")
    assert trigger(place, "alert 4", "agent01").incident != case


@pytest.mark.parametrize("spelt", ["agents:agent01", "agent01"])
def test_who_was_given_back_and_comes_again_is_locked_anew_and_nobody_else_is(
    place: TwinPlace, spelt: str
) -> None:
    case = trigger(place, "alert 1", "agent01", "agent02", scenario="lock").incident
    place.advance(case)
    effect_undo.undo(place, case, requested_by="lee")
    for name in ("lee", "kim"):  # the playbook proves nothing
        step_decisions.decide(place, case, "undo-1", name, PASSPHRASES[name])
    place.advance(case)
    assert enabled(place, ["agent01", "agent02"]) == [True, True]
    again = lifecycle.open_incident(
        place, "lock", {"accounts": [spelt]}, mode=Mode.LIVE, trigger="alert 2"
    )
    assert not again.has_joined
    place.advance(again.incident)
    assert enabled(place, ["agent01", "agent02"]) == [False, True]
    repeated = trigger(place, "alert 2", "agent01", scenario="lock")
    assert repeated == lifecycle.Opened(incident=again.incident, has_joined=True)
    assert effect_undo.plan_undo(place, again.incident).restores == 1


def test_the_same_trigger_locks_nobody_again_whom_a_person_gave_back(place: TwinPlace) -> None:
    case = trigger(place, "alert 1", "agent01", "agent02").incident
    place.advance(case)
    undo_approved(place, case, targets=["agents:agent01"])
    place.advance(case)
    again = trigger(place, "alert 1", "agent01", "agent02")
    assert again == lifecycle.Opened(incident=case, has_joined=True)
    place.advance(case)
    assert enabled(place, ["agent01", "agent02"]) == [True, False]
    assert [place.twins.told(f"staff{n}@example.net") for n in (1, 2)] == [1, 1]


def test_who_is_still_locked_joins_though_others_were_given_back(place: TwinPlace) -> None:
    case = trigger(place, "alert 1", "agent01", "agent02").incident
    place.advance(case)
    undo_approved(place, case, targets=["agents:agent01"])
    place.advance(case)
    assert enabled(place, ["agent01", "agent02"]) == [True, False]
    assert trigger(place, "alert 2", "agent02").incident == case
    assert trigger(place, "alert 2", "agent01").incident != case


def test_who_could_not_be_locked_is_tried_anew_by_another_trigger(place: TwinPlace) -> None:
    directory = place.twins.directory
    assert isinstance(directory, MemoryDirectory)
    directory.script("lock", Fault.FAIL, target="agent01")
    failed = place.run("lock", ["agents:agent01", "agents:agent02"])
    absent = place.run("lock", ["agents:later", "elsewhere:later"])
    assert enabled(place, ["agent01", "agent02"]) == [True, False]
    directory.add("later")
    for key, name, before in (("alert 1", "agent01", failed), ("alert 2", "later", absent)):
        again = trigger(place, key, name, scenario="lock")
        assert not again.has_joined, f"{before} leaves {name} open"
        place.advance(again.incident)
        assert enabled(place, [name]) == [False]
        assert trigger(place, key, name, scenario="lock").incident == again.incident
    assert trigger(place, "alert 3", "agent02", scenario="lock").incident == failed
    nowhere = lifecycle.open_incident(
        place, "lock", {"accounts": ["elsewhere:later"]}, mode=Mode.LIVE, trigger="alert 4"
    )
    assert not nowhere.has_joined


def more_than_one_may_lock(place: TwinPlace) -> list[str]:
    directory = place.twins.directory
    assert isinstance(directory, MemoryDirectory)
    many = [f"x{number:03}" for number in range(201)]
    for name in many:
        directory.add(name)
    return many


def test_who_was_not_to_be_locked_by_a_no_is_asked_about_anew_by_another_trigger(
    place: TwinPlace,
) -> None:
    many = more_than_one_may_lock(place)
    case = place.run("lock", [f"agents:{name}" for name in many])
    step_decisions.decide(place, case, "lock", "lee", PASSPHRASES["lee"], approves=False)
    place.advance(case)
    again = trigger(place, "alert", "x001", scenario="lock")
    assert not again.has_joined
    place.advance(again.incident)
    assert enabled(place, ["x001", "x002"]) == [False, True]


def test_what_an_operator_opened_is_joined_and_what_was_added_rides_on_nobodys_sign_in(
    place: TwinPlace,
) -> None:
    many = more_than_one_may_lock(place)
    case = place.run("lock", ["agents:agent01"])
    assert trigger(place, "alert", "agent01", *many, scenario="lock").incident == case
    view = place.advance(case).state.steps["lock"]
    assert (view.state, view.approvals_needed) == (StepState.ASKING, 2)
    assert all(enabled(place, many))
    for name in ("lee", "kim"):
        step_decisions.decide(place, case, "lock", name, PASSPHRASES[name])
    place.advance(case)
    assert not any(enabled(place, many))


def test_finding_what_is_repeated_opens_no_other_incident_however_many_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with twin_place(tmp_path, "sqlite:///ledger.db") as place:
        cases = [trigger(place, f"alert {n}", f"x{n:03}").incident for n in range(500)]
        opened = watch_what_is_opened(place, monkeypatch)
        assert trigger(place, "another", "X499", "new").incident == cases[499]
        assert opened == [f"incident {cases[499]}"]
        assert trigger(place, "a third", "NEW").incident == cases[499]
        assert trigger(place, "alert 7", "elsewhere").incident == cases[7]
        opened.clear()
        assert trigger(place, "nobody knows", "unheard").incident not in cases
        assert opened == []


def watch_what_is_opened(place: TwinPlace, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the context of whatever the vault opens from now on."""
    opened: list[str] = []
    real = type(place.ledger.vault).open

    def noted(vault: Vault, scope: str, context: str, sealed: bytes) -> JsonObject:
        opened.append(context)
        return real(vault, scope, context, sealed)

    monkeypatch.setattr(type(place.ledger.vault), "open", noted)
    return opened


def test_two_alerts_at_once_end_in_one_incident_with_both_targets(place: TwinPlace) -> None:
    case = trigger(place, "alert 0", "agent01").incident
    at_once(
        lambda: trigger(place, "alert 1", "agent01", "agent02"),
        lambda: trigger(place, "alert 2", "agent01", "agent03"),
        lambda: place.advance(case),
    )
    place.advance(case)
    assert enabled(place, ["agent01", "agent02", "agent03"]) == [False] * 3
    assert {tries for _, _, tries in locks(place, case)} == {1}
