"""The account of notices: every person once, and the numbers add up whatever happens."""

import csv
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.errors import StandfastError, UsageError
from standfast.ledger.deliveries import Delivery
from standfast.ledger.effects import EffectRow
from standfast.operations import decisions
from standfast.operations.accounting import Account, End, account, counted_rows, export, line
from standfast.operations.reports import incident_report
from standfast.operations.status import look
from standfast.records import DeliveryEvent, DeliveryState, EffectState, Proof
from tests.operations.conftest import Centre
from tests.operations.places import PASSPHRASES

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TOLD = "tell_customers"
_ROW = st.builds(
    EffectRow,
    token=st.uuids().map(lambda one: one.hex),
    incident=st.just("inc-2026-0001"),
    step=st.sampled_from(["a", "b"]),
    round=st.integers(1, 3),
    verb=st.just("notices.send"),
    connector=st.just("mail"),
    handle=st.just("h" * 32),
    target=st.sampled_from(["mail:ana@x.test", "mail:row 3", "held:7", "post:Ana\nLeeds"]),
    details=st.just({}),
    state=st.sampled_from(list(EffectState)),
    is_parked=st.booleans(),
    prior=st.none(),
    undoes=st.none(),
    tries=st.integers(0, 3),
    reason=st.just(""),
    proof=st.just(Proof.NONE),
    facts=st.just({}),
)


@given(
    st.lists(st.tuples(_ROW, st.none() | st.sampled_from(list(DeliveryState))), max_size=20),
    st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 3))),
)
def test_the_numbers_add_up_to_the_audience_whatever_became_of_each(
    people: list[tuple[EffectRow, DeliveryState | None]], refused: set[tuple[str, int]]
) -> None:
    heard = {row.token: state for row, state in people}
    rows = counted_rows([row for row, _ in people], refused)
    lines = []
    for row in rows:
        state = heard[row.token]
        delivery = None if state is None else Delivery(state=state, at=NOW)
        is_refused = (row.step, row.round) in refused
        lines.append(line(row, delivery, (None, None), is_refused=is_refused, is_clear=False))
    one = Account(step="a", template="t", root="", lines=tuple(lines))
    assert sum(one.counts.values()) == len(rows)
    told = one.counts.get(End.HANDED_OVER, 0) + one.counts.get(End.DELIVERED, 0)
    assert one.untold == len(rows) - told
    assert all(each.end is not End.DELIVERED or not each.address for each in lines)
    done = [row for row in rows if row.state is EffectState.DONE]
    assert told <= len(done)


def told_centre(centre: Centre) -> str:
    centre.scim.create("agent01")
    case = centre.open("account-takeover", "agents:agent01")
    centre.advance(case)
    decisions.answer(centre.place, case, "customers_affected", "yes", by="lee")
    centre.advance(case)
    decisions.decide(centre.place, case, TOLD, "lee", PASSPHRASES["lee"])
    centre.advance(case)
    return case


def test_each_is_accounted_for_masked_exported_and_noted(centre: Centre, tmp_path: Path) -> None:
    case = told_centre(centre)
    place = centre.place
    there = place.ledger.effects.of_incident(case)
    rows = [row for row in there if (row.step, row.verb) == (TOLD, "notices.send")]
    now = place.clock()
    place.ledger.deliveries.hear(
        [
            DeliveryEvent(token=rows[0].token, state=DeliveryState.DELIVERED, at=now),
            DeliveryEvent(token=rows[1].token, state=DeliveryState.BOUNCED, at=now),
            DeliveryEvent(token=rows[2].token, state=DeliveryState.DEFERRED, at=now),
            DeliveryEvent(token=rows[3].token, state=DeliveryState.DROPPED, at=now),
            DeliveryEvent(token=rows[4].token, state=DeliveryState.TAKEN, at=now),
        ],
        "event",
        now,
    )
    masked = account(place, case)
    (one,) = [each for each in masked if each.step == TOLD]
    assert one.counts == {
        End.HANDED_OVER: 16,
        End.DELIVERED: 1,
        End.DEFERRED: 1,
        End.BOUNCED: 1,
        End.DROPPED: 1,
    }
    assert (len(one.lines), one.untold) == (20, 3)
    (told,) = [each for each in incident_report(place, case).notices if each.step == TOLD]
    ends = ("bounced", "deferred", "dropped")
    assert sorted(each.reason for each in told.untold) == [f"handed over, then {e}" for e in ends]
    (status,) = look(centre.config_file, {}, now).incidents
    assert (status.untold, status.held) == (3, 0)
    assert all(each.submitted_at and each.channel == "mail" and each.why for each in one.lines)
    assert "@" not in json.dumps([each.as_json() for each in one.lines])

    clear = account(place, case, unmasked_because="the regulator asked")
    (shown,) = [each for each in clear if each.step == TOLD]
    assert {each.address for each in shown.lines} == {
        f"customer{n}@example.net" for n in range(1, 21)
    }
    views = [e for e in place.ledger.timeline(case) if e.action == "accounting.viewed"]
    assert [event.detail["reason"] for event in views] == ["the regulator asked"]

    file = tmp_path / "told.csv"
    digest = export(place, case, masked, file)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    with file.open(newline="") as stream:
        written = list(csv.DictReader(stream))
    assert len(written) == sum(len(each.lines) for each in masked)
    assert "address" not in written[0]
    assert file.stat().st_mode & 0o77 == 0
    formula = replace(one, lines=(replace(one.lines[0], reason="\u00a0\uff1dcmd()"),))
    export(place, case, [formula], tmp_path / "formula.csv")
    assert ",'\u00a0\uff1dcmd()," in (tmp_path / "formula.csv").read_text()
    export(place, case, masked, tmp_path / "told.json")
    document = json.loads((tmp_path / "told.json").read_text())
    assert [each["step"] for each in document["notices"]] == [each.step for each in masked]
    events = [e for e in place.ledger.timeline(case) if e.action == "accounting.exported"]
    assert events[0].detail["sha256"] == digest
    assert "@" not in json.dumps([dict(event.detail) for event in events])
    with pytest.raises(StandfastError):
        export(place, case, masked, file)
    with pytest.raises(UsageError):
        export(place, case, masked, tmp_path / "told.pdf")
    assert place.ledger.audit.verify().findings == ()
