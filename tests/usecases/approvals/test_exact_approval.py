"""An approval covers exactly one plan; a changed plan has another digest."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from standfast.errors import Refused
from standfast.ledger.effects.effect_rows import (
    Batch,
    EffectQueue,
    EffectRow,
    effect_token,
    scope_of,
)
from standfast.ledger.incidents.incident_store import Incidents
from standfast.ledger.incidents.step_plans import Plan, draft_effects
from standfast.notices.prepared_notice import Piece, Prepared
from standfast.records import EffectState, JsonObject, Mode
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents.step_expansion import expand
from tests.usecases.conftest import Centre
from tests.usecases.incidents.test_staged_notices import asking, counts
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import SimulatedInstallation

TOLD = "tell_customers"


def plan_digest(centre: Centre, case: str) -> str:
    """Plan the notice again as a runner would; return the signed digest."""
    ledger = centre.installation.ledger
    state = ledger.incidents.state(case)

    def token_of(target: str) -> str:
        handle = ledger.cipher.handle(scope_of("notices.send", case), target)
        return effect_token(case, TOLD, 1, "notices.send", handle)

    adapters = centre.installation.adapters_for(ledger.incidents.get(case))
    step = state.playbook.step(TOLD)
    expansion = expand(step, state, adapters, is_signed=True, token_of=token_of)
    assert expansion.streamed_notice is not None
    plan = Plan(case, TOLD, 1)
    for page in expansion.streamed_notice.pages():
        plan.add(draft_effects(ledger.cipher, case, TOLD, 1, page))
    return plan.digest(expansion.streamed_notice.notice(), expansion.settings)


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
def test_changed_row_language_or_order_changes_the_plan(centre: Centre, statement: str) -> None:
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
    config = centre.installation.config
    changed = config.organisation.model_copy(update={"contact_line": "555 0199"})
    centre.installation = replace(
        centre.installation, config=config.model_copy(update={"organisation": changed})
    )
    assert plan_digest(centre, case) != before


def rewritten(body: JsonObject) -> JsonObject:
    """Return a valid notice with another text."""
    prepared = Prepared.from_json(body)
    lie = (Piece(text="Call 0909 879 0000 and read out your card number.\n"),)
    languages = {
        language: replace(parts, text=lie) for language, parts in prepared.languages.items()
    }
    return replace(prepared, languages=languages).as_json()


def garbled(body: JsonObject) -> JsonObject:
    return {**rewritten(body), "digest": body["digest"]}


@pytest.mark.parametrize("forge", [rewritten, garbled])
def test_notice_changed_after_the_approval_reaches_nobody(
    centre: Centre, forge: Callable[[JsonObject], JsonObject]
) -> None:
    case = asking(centre)
    step_decisions.decide(centre.installation, case, TOLD, "lee", PASSPHRASES["lee"])
    with closing(sqlite3.connect(centre.config_file.parent / "ledger.db")) as database, database:
        (body,) = database.execute("SELECT body FROM notice WHERE step = ?", (TOLD,)).fetchone()
        forged = json.dumps(forge(json.loads(body)))
        database.execute("UPDATE notice SET body = ? WHERE step = ?", (forged, TOLD))
    database.close()
    centre.advance(case)
    assert counts(centre, case) == {EffectState.FAILED: 20}
    assert not any("customer" in mail.recipients[0] for mail in centre.smtp.delivered)


def test_only_the_changed_message_is_withheld(
    installation: SimulatedInstallation,
) -> None:
    case = asked_about_customers(installation)
    first, second, *others = customers(installation, case)
    values = {"name": "Mallory"}
    another = replace(second, details={**second.details, "values": values})
    adapters = installation.adapters_for(installation.ledger.incidents.get(case))
    results = adapters.call(batch_of(case, first, another, *others))
    assert [(one.target, one.state) for one in results] == [
        ("customers1@example.net", EffectState.DONE),
        ("customers2@example.net", EffectState.REFUSED),
        ("customers3@example.net", EffectState.DONE),
        ("customers4@example.net", EffectState.DONE),
    ]
    told = [one.address for one in installation.twins.mail.messages if "customers" in one.address]
    assert told == [f"customers{number}@example.net" for number in (1, 3, 4)]


def test_second_round_is_sent_with_its_own_text(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One runner may send both rounds, each with its own text."""
    case = asked_about_customers(installation)
    before = installation.ledger.incidents.notice(case, TOLD, 1)
    first, *_ = customers(installation, case)
    prepared = Prepared.from_json(rewritten(before.body))
    details = cast("Mapping[str, Any]", first.details)
    filled = prepared.fill(
        details["language"],
        details["values"],
        first.token,
        address=first.target.partition(":")[2],
    )
    second = replace(first, round=2, details={**details, "digest": filled.digest})
    rounds = {1: before, 2: replace(before, body=prepared.as_json(), digest=prepared.digest)}
    monkeypatch.setattr(Incidents, "notice", lambda self, incident, step, round_: rounds[round_])
    adapters = installation.adapters_for(installation.ledger.incidents.get(case))
    for row in (first, second):
        (result,) = adapters.call(batch_of(case, row))
        assert result.state is EffectState.DONE
    one, other = installation.twins.mail.messages[-2:]
    assert "0909" not in one.text
    assert "0909" in other.text


def test_plan_submits_no_message(installation: SimulatedInstallation) -> None:
    case = asked_about_customers(installation)
    row, *_ = customers(installation, case)
    planned = replace(installation.ledger.incidents.get(case), mode=Mode.PLAN)
    told = len(installation.twins.mail.messages)
    with pytest.raises(Refused, match="a plan changes nothing"):
        installation.adapters_for(planned).call(batch_of(case, row))
    assert len(installation.twins.mail.messages) == told


def asked_about_customers(installation: SimulatedInstallation) -> str:
    """Open a takeover and run it up to the approval of the notice."""
    case = installation.run("account-takeover")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    return case


def customers(installation: SimulatedInstallation, case: str) -> list[EffectRow]:
    """Return the messages to customers, in order."""
    rows = installation.ledger.effects.of_incident(case)
    return [row for row in rows if (row.step, row.verb) == (TOLD, "notices.send")]


def batch_of(case: str, *rows: EffectRow) -> Batch:
    """Return a batch of effects that was claimed."""
    queue = EffectQueue(verb=rows[0].verb, connector=rows[0].connector)
    return Batch(attempt="a" * 32, incident=case, queue=queue, effects=rows)
