"""Delivery reports, counted correctly in any order and when repeated."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.ledger import Ledger
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.ledger.messages.delivery_reports import Delivery, DeliveryChanges
from standfast.playbook.actions.people_page import PAGE
from standfast.records import DeliveryEvent, DeliveryState, EffectState, Observed
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import (
    begin,
    claim,
    claimed,
    drafts,
    only,
    open_incident,
    results,
    runner,
)

MAIL = EffectQueue(verb="notices.send", connector="mail")
TAKEN, DEFERRED = DeliveryState.TAKEN, DeliveryState.DEFERRED
DELIVERED, BOUNCED = DeliveryState.DELIVERED, DeliveryState.BOUNCED


def event(
    token: str, state: DeliveryState, seconds: int = 0, *, is_complaint: bool = False
) -> DeliveryEvent:
    return DeliveryEvent(
        token=token, state=state, at=NOW + timedelta(seconds=seconds), is_complaint=is_complaint
    )


def hear(ledger: Ledger, *events: DeliveryEvent) -> DeliveryChanges:
    return ledger.deliveries.store_reports(events, "events:grid", NOW)


@pytest.fixture
def incident(ledger: Ledger) -> str:
    """Open an incident with one message to send."""
    made = open_incident(ledger)
    begin(ledger, made, drafts(MAIL, "ana@customers.test"), step="tell")
    return made


def sent(ledger: Ledger, incident: str, state: EffectState = EffectState.DONE) -> str:
    """Hand the message over, with that end; return its token."""
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who, queue=MAIL)
    ledger.attempts.receipt(batch, results(batch, state), who, NOW)
    return batch.effects[0].token


def test_order_of_reports_does_not_matter(ledger: Ledger, incident: str) -> None:
    token = sent(ledger, incident)
    words = [
        event(token, TAKEN, 1),
        event(token, DEFERRED, 5),
        event(token, DELIVERED, 9),
        event(token, DELIVERED, 20, is_complaint=True),
    ]
    for order in permutations(words):
        for one in order:
            hear(ledger, one)
        assert ledger.deliveries.of_incident(incident) == {
            token: Delivery(
                state=DELIVERED,
                at=NOW + timedelta(seconds=20),
                complained_at=NOW + timedelta(seconds=20),
            )
        }
    assert ledger.deliveries.counts(incident) == {("tell", 1): {DELIVERED: 1}}
    assert ledger.audit.verify().is_whole


def test_repeated_delivery_report_leaves_no_event(ledger: Ledger, incident: str) -> None:
    token = sent(ledger, incident)
    assert hear(ledger, event(token, DELIVERED)) == DeliveryChanges(changed=1)
    events = len(ledger.timeline())
    assert hear(ledger, event(token, DELIVERED), event(token, DELIVERED)) == DeliveryChanges()
    assert len(ledger.timeline()) == events


def test_first_complaint_keeps_its_time(ledger: Ledger, incident: str) -> None:
    token = sent(ledger, incident)
    hear(ledger, event(token, DELIVERED, 20, is_complaint=True))
    hear(ledger, event(token, DELIVERED, 90, is_complaint=True))
    heard = ledger.deliveries.of_incident(incident)[token]
    assert heard.complained_at == NOW + timedelta(seconds=20)


def test_timeline_counts_reports_and_settled_messages(ledger: Ledger, incident: str) -> None:
    token = sent(ledger, incident, EffectState.UNKNOWN)
    hear(ledger, event(token, DEFERRED, 5))
    assert hear(ledger, event(token, DELIVERED, 9)) == DeliveryChanges(changed=1)
    told = [
        event.detail for event in ledger.timeline(incident) if event.action == "deliveries.heard"
    ]
    assert [(one["messages"], one["settled"]) for one in told] == [(1, 1), (1, 0)]


def test_bounce_after_delivery_counts_late_deferral_not(ledger: Ledger, incident: str) -> None:
    token = sent(ledger, incident)
    hear(ledger, event(token, DELIVERED, 5), event(token, BOUNCED, 60), event(token, DEFERRED, 90))
    assert ledger.deliveries.of_incident(incident)[token].state is BOUNCED


def test_worse_of_two_simultaneous_reports_counts(ledger: Ledger, incident: str) -> None:
    token = sent(ledger, incident)
    dropped = DeliveryState.DROPPED
    for state, counts in ((dropped, dropped), (DELIVERED, dropped), (BOUNCED, BOUNCED)):
        hear(ledger, event(token, state, 5))
        assert ledger.deliveries.of_incident(incident)[token].state is counts


@pytest.mark.parametrize("state", [EffectState.UNKNOWN, EffectState.FAILED])
def test_report_settles_an_unknown_message(
    ledger: Ledger, incident: str, state: EffectState
) -> None:
    token = sent(ledger, incident, state)
    assert hear(ledger, event(token, TAKEN)) == DeliveryChanges(changed=1, settled=1)
    row = only(ledger, incident)
    assert (row.state, row.is_parked) == (EffectState.DONE, False)
    assert "accepted" in row.reason


def test_report_replaces_a_persons_decision(ledger: Ledger, incident: str) -> None:
    token = sent(ledger, incident, EffectState.UNKNOWN)
    row = only(ledger, incident)
    ledger.unknown_outcomes.settle(incident, [(row, Observed(target=row.target))], "olga", NOW)
    assert only(ledger, incident).is_parked
    hear(ledger, event(token, TAKEN))
    assert not only(ledger, incident).is_parked


def test_report_about_a_page_concerns_no_notice(ledger: Ledger, incident: str) -> None:
    """A page that bounced would hold back the messages after the canary."""
    begin(ledger, incident, drafts(MAIL, "ben@customers.test"), step="ask", needs=1)
    page = EffectQueue(verb=PAGE, connector="mail")
    ledger.steps.ask(incident, "ask", 1, drafts(page, "lee"), NOW)
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who, queue=page)
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    mail = sent(ledger, incident)
    hear(ledger, event(batch.effects[0].token, BOUNCED), event(mail, TAKEN))
    assert ledger.deliveries.counts(incident) == {("tell", 1): {TAKEN: 1}}


def test_delivery_report_before_the_receipt_counts_as_receipt(
    ledger: Ledger, incident: str
) -> None:
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who, queue=MAIL)
    hear(ledger, event(batch.effects[0].token, DELIVERED))
    ledger.attempts.receipt(batch, results(batch, EffectState.UNKNOWN), who, NOW)
    assert only(ledger, incident).state is EffectState.DONE


def test_accepted_message_survives_its_runner(ledger: Ledger, incident: str) -> None:
    batch = claimed(ledger, incident, runner(ledger, incident), queue=MAIL)
    hear(ledger, event(batch.effects[0].token, DELIVERED))
    assert ledger.unknown_outcomes.expire_calls(incident, lambda _: True, NOW) == 0
    assert only(ledger, incident).state is EffectState.DONE


def test_accepted_message_is_not_sent_again(ledger: Ledger, incident: str) -> None:
    who = runner(ledger, incident)
    batch = claimed(ledger, incident, who, queue=MAIL)
    again = results(batch, EffectState.FAILED, retry_after=0)
    ledger.attempts.receipt(batch, again, who, NOW)
    assert only(ledger, incident).state is EffectState.PLANNED
    hear(ledger, event(batch.effects[0].token, TAKEN))
    assert claim(ledger, incident, who, queue=MAIL) is None


def test_foreign_report_is_counted_and_not_stored(ledger: Ledger, incident: str) -> None:
    planned = only(ledger, incident).token
    events = len(ledger.timeline())
    heard = hear(ledger, event("0" * 32, DELIVERED), event(planned, DELIVERED))
    assert heard == DeliveryChanges(
        foreign=2
    )  # a message that was never handed over cannot have been delivered
    assert only(ledger, incident).state is EffectState.PLANNED
    assert len(ledger.timeline()) == events


_DELIVERIES = st.builds(
    Delivery,
    state=st.sampled_from(DeliveryState),
    at=st.integers(0, 4).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    complained_at=st.none() | st.integers(0, 4).map(lambda s: NOW + timedelta(seconds=s)),
)


@given(st.lists(_DELIVERIES, min_size=1, max_size=6), st.randoms())
def test_joining_cares_neither_for_order_nor_for_repeats(
    found: list[Delivery], luck: Random
) -> None:
    def joined(words: Sequence[Delivery]) -> Delivery:
        whole = words[0]
        for one in words[1:]:
            whole = whole.merged_with(one)
        return whole

    shuffled = [*found, *found]
    luck.shuffle(shuffled)
    assert joined(shuffled) == joined(found)
