"""What is approved is exact: anything else has another digest, which no approval signs."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.ledger.effects import effect_token, scope_of
from standfast.ledger.plans import Plan, drawn_up
from standfast.operations.actions import expand
from tests.operations.conftest import Centre

TOLD = "tell_customers"


def plan_digest(centre: Centre, case: str) -> str:
    """Plan the notice anew, as a runner would, and give what an approval would sign."""
    ledger = centre.place.ledger
    state = ledger.incidents.state(case)

    def token_of(target: str) -> str:
        handle = ledger.vault.handle(scope_of("notices.send", case), target)
        return effect_token(case, TOLD, 1, "notices.send", handle)

    outside = centre.place.outside(ledger.incidents.get(case))
    step = state.playbook.step(TOLD)
    expansion = expand(step, state, outside, is_signed=True, token_of=token_of)
    assert expansion.telling is not None
    plan = Plan(case, TOLD, 1)
    for page in expansion.telling.pages():
        plan.add(drawn_up(ledger.vault, case, TOLD, 1, page))
    return plan.digest(expansion.telling.notice())


def change(centre: Centre, statement: str) -> None:
    folder: Path = centre.config_file.parent
    with closing(sqlite3.connect(folder / "crm.db")) as crm, crm:
        crm.executescript(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE customers SET name = 'Customer 3 ' || 'b' WHERE id = 3",
        "UPDATE customers SET email = 'other@example.net' WHERE id = 3",
        "UPDATE customers SET language = 'es' WHERE id = 4",
        "DELETE FROM customers WHERE id = 20",
        "INSERT INTO customers VALUES (21, 'New', 'new@example.net', 'en')",
        (
            "UPDATE customers SET id = 99 WHERE id = 1; UPDATE customers SET id = 1 WHERE id = 2; "
            "UPDATE customers SET id = 2 WHERE id = 99"
        ),
    ],
)
def test_a_changed_row_language_or_order_is_another_plan(centre: Centre, statement: str) -> None:
    case = centre.open("account-takeover", "agents:agent01")
    before = plan_digest(centre, case)
    assert plan_digest(centre, case) == before
    change(centre, statement)
    assert plan_digest(centre, case) != before


def test_a_changed_body_is_another_plan(
    centre: Centre,
) -> None:
    case = centre.open("account-takeover", "agents:agent01")
    before = plan_digest(centre, case)
    config = centre.place.config
    changed = config.organisation.replaced(contact_line="555 0199")
    centre.place = replace(centre.place, config=config.replaced(organisation=changed))
    assert plan_digest(centre, case) != before
