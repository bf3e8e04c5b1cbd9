"""What one step locked is given back by itself; what another one locked stays shut."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from standfast.errors import UsageError
from standfast.operations import incident, undoing
from standfast.records import Mode
from tests.operations.places import enrol_people, furnish, place_at
from tests.operations.twins import TwinPlace, Twins

PLAYBOOK = """
playbook: two
version: 1
title: Lock two kinds of accounts
use_when: A test gives one of them back.
inputs:
  staff: {type: accounts, required: true}
  suppliers: {type: accounts, required: true}
steps:
  staff_lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.staff }}"}}
  staff_proof:
    {title: Prove, needs: [staff_lock], do: accounts.prove_locked,
     with: {accounts: "{{ inputs.staff }}"}}
  suppliers_lock: {title: Lock, do: accounts.lock, with: {accounts: "{{ inputs.suppliers }}"}}
  suppliers_proof:
    {title: Prove, needs: [suppliers_lock], do: accounts.prove_locked,
     with: {accounts: "{{ inputs.suppliers }}"}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    config_file = furnish(tmp_path)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks/two.yaml").write_text(PLAYBOOK)
    with config_file.open("a") as file:
        file.write('\n[playbooks]\nfolder = "playbooks"\n')
    with place_at(config_file) as place:
        enrol_people(place)
        known = {one.name: getattr(place, one.name) for one in fields(type(place))}
        yield TwinPlace(**known, twins=Twins())


def test_one_step_is_given_back_and_the_other_stays_locked(place: TwinPlace) -> None:
    case = incident.open_incident(
        place,
        "two",
        {"staff": ["agents:agent01", "agents:agent02"], "suppliers": ["agents:agent03"]},
        mode=Mode.LIVE,
        opened_by="dana",
    ).incident
    place.advance(case)
    locked = ("agent01", "agent02", "agent03")
    assert not any(place.is_enabled(name) for name in locked)
    with pytest.raises(UsageError, match="step 'nosuch' touched nothing in this incident"):
        undoing.undo(place, case, step="nosuch")
    with pytest.raises(UsageError, match="not locked by this incident"):
        undoing.undo(place, case, step="suppliers_lock", targets=["agent01"])
    plan = undoing.undo(place, case, step="suppliers_lock")
    assert (plan.restores, plan.needs_approvals) == (1, 0)
    place.advance(case)
    assert [place.is_enabled(name) for name in locked] == [False, False, True]
    assert undoing.undo(place, case, step="suppliers_lock").restores == 0
    assert undoing.undo(place, case).restores == 2
    place.advance(case)
    assert all(place.is_enabled(name) for name in locked)
