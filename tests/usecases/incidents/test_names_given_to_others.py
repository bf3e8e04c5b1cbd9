"""Whoever bears the name of a locked account by now is neither proven nor given back in its stead.

An intruder who may rename accounts renames the locked one and leaves another one under its name.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.simulator import Fault
from standfast.errors import ExitStatus
from standfast.records import EffectState, Order, Result
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, lifecycle
from tests.usecases.conftest import Centre
from tests.usecases.places import PASSPHRASES, undo_approved
from tests.usecases.twins import TwinPlace, twin_place

pytestmark = pytest.mark.usefixtures("quick_looks")

NAME, FORMER = "agent01", "agent01.former"
THEN = """
playbook: then
version: 1
title: Lock, and then more
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.accounts }}"}}
  more:
    title: More
    needs: [lock]
    do: VERB
    approval: {none_because: It is a test.}
    with: {accounts: "{{ inputs.accounts }}"}
"""


def give_the_name_away(place: TwinPlace, *, is_enabled: bool) -> None:
    place.directory.rename(NAME, FORMER)
    place.directory.add(NAME, is_enabled=is_enabled)


@pytest.fixture
def renamed_after_its_lock(place: TwinPlace, monkeypatch: pytest.MonkeyPatch) -> TwinPlace:
    """A place where the name of the account is given away between its lock and its proof."""
    lock = place.directory._lock

    def lock_and_rename(orders: Sequence[Order]) -> list[Result]:
        results = lock(orders)
        if FORMER not in place.directory._accounts:
            give_the_name_away(place, is_enabled=False)
        return results

    monkeypatch.setattr(place.directory, "_lock", lock_and_rename)
    return place


def row_of(place: TwinPlace, case: str, verb: str) -> tuple[EffectState, str]:
    """Give what the last effect of this verb came to."""
    rows = [row for row in place.ledger.effects.of_incident(case) if row.verb == verb]
    return rows[-1].state, rows[-1].reason


def test_a_disabled_account_under_the_name_of_the_locked_one_is_no_proof(
    renamed_after_its_lock: TwinPlace,
) -> None:
    place = renamed_after_its_lock
    case = place.open("account-takeover")
    outcome = place.advance(case)
    state, reason = row_of(place, case, "accounts.prove_locked")
    assert (state, "another account" in reason) == (EffectState.REFUSED, True)
    assert outcome.exit_status is ExitStatus.FAILED


def test_the_undo_gives_back_the_account_that_was_locked_whatever_it_is_called(
    renamed_after_its_lock: TwinPlace,
) -> None:
    place = renamed_after_its_lock
    case = place.run("account-takeover")
    plan = effect_undo.undo(place, case, requested_by="dana")
    assert (plan.unproven, plan.needs_approvals) == (1, 1), "it was never proven shut"
    step_decisions.decide(place, case, plan.step, "lee", PASSPHRASES["lee"])
    place.advance(case)
    assert (place.is_enabled(FORMER), place.is_enabled(NAME)) == (True, False)


def test_who_was_given_the_name_of_a_locked_account_can_be_locked_and_is_not_given_back_for_it(
    place: TwinPlace,
) -> None:
    first = place.run("account-takeover")
    give_the_name_away(place, is_enabled=True)
    second = place.run("account-takeover")
    for verb in ("accounts.lock", "accounts.prove_locked"):
        assert row_of(place, second, verb)[0] is EffectState.DONE
    assert not place.is_enabled(NAME)
    later = replace(place, clock=lambda: place.clock() + timedelta(minutes=31))
    later.advance(first)
    assert row_of(place, first, "accounts.prove_locked")[0] is EffectState.REFUSED
    place.ledger.incidents.close(second, "os:test", place.clock())
    undo_approved(place, first)
    place.advance(first)
    assert (place.is_enabled(FORMER), place.is_enabled(NAME)) == (True, False)


@pytest.mark.parametrize("verb", ["accounts.revoke_sessions", "accounts.rotate"])
def test_what_is_meant_for_the_locked_account_is_not_done_to_another_one(
    tmp_path: Path, verb: str
) -> None:
    playbook = THEN.replace("VERB", verb)
    with twin_place(tmp_path, playbooks=[playbook]) as place:
        case = place.open("then")
        lock = place.directory._lock

        def lock_and_rename(orders: Sequence[Order]) -> list[Result]:
            results = lock(orders)
            give_the_name_away(place, is_enabled=True)
            return results

        place.directory._lock = lock_and_rename
        session = place.directory.open_session(NAME)
        place.advance(case)
        place.directory._lock = lock
        assert not place.directory.admits(session)
        state, reason = row_of(place, case, verb)
        assert (state, "another account" in reason) == (EffectState.REFUSED, True)
        assert place.directory.changes(NAME) == 0


def test_a_lock_whose_answer_was_lost_is_not_done_because_another_account_is_shut(
    renamed_after_its_lock: TwinPlace,
) -> None:
    place = renamed_after_its_lock
    place.directory.script("lock", Fault.LOST_REQUEST, target=NAME)
    case = place.run("account-takeover", (f"agents:{NAME}", "agents:agent02"))
    rows = place.ledger.effects.of_incident(case)
    found = {(row.verb, row.target): row.state for row in rows if row.verb.startswith("accounts.")}
    refused, done = EffectState.REFUSED, EffectState.DONE
    assert found == {
        ("accounts.lock", f"agents:{NAME}"): refused,
        ("accounts.lock", "agents:agent02"): done,
        ("accounts.prove_locked", f"agents:{NAME}"): refused,
        ("accounts.prove_locked", "agents:agent02"): done,
    }
    assert place.is_enabled(FORMER), "and nobody says that it is not"


def test_what_an_earlier_version_kept_without_an_id_is_proven_and_given_back_by_name(
    place: TwinPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe = place.directory._observe

    def without_id(names: Sequence[str]) -> list[AccountState]:
        found = observe(names)
        return [replace(one, prior={"enabled": one.is_enabled}) for one in found]

    monkeypatch.setattr(place.directory, "_observe", without_id)
    case = place.run("account-takeover")
    assert row_of(place, case, "accounts.prove_locked")[0] is EffectState.DONE
    monkeypatch.undo()
    undo_approved(place, case)
    place.advance(case)
    assert place.is_enabled(NAME)


def test_in_a_real_directory_the_second_proof_is_of_the_account_that_was_locked(
    centre: Centre,
) -> None:
    locked = centre.scim.create(NAME)
    case = centre.open("account-takeover", f"agents:{NAME}")
    centre.advance(case)
    centre.scim.rename(locked, FORMER)
    heir = centre.scim.create(NAME, is_active=False)
    later = replace(centre.place, clock=lambda: centre.place.clock() + timedelta(minutes=31))
    lifecycle.advance(later, case, "direct")
    proofs = {
        row.step: (row.state, "another account" in row.reason)
        for row in later.ledger.effects.of_incident(case)
        if row.verb == "accounts.prove_locked"
    }
    assert proofs == {
        "prove": (EffectState.DONE, False),
        "still_shut": (EffectState.REFUSED, True),
    }
    undo_approved(later, case)
    lifecycle.advance(later, case, "direct")
    assert (centre.scim.is_active(locked), centre.scim.is_active(heir)) == (True, False)
