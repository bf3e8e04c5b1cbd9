"""Facts of an incident: added, never changed, with author and time."""

from datetime import timedelta

import pytest

from standfast.deadlines.incident_facts import Fact, FactKind
from standfast.errors import Refused
from standfast.ledger import Ledger
from standfast.ledger.incidents.incident_facts import Statement
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import open_incident

LATER = NOW + timedelta(hours=2)
AWARE = Statement(kind=FactKind.TIME, name="awareness", at=NOW, reference="call with the client")


def test_fact_is_returned_as_stated(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    stated = [
        AWARE,
        Statement(kind=FactKind.AFFECTED, name="US-CA", count=1200),
        Statement(kind=FactKind.ANSWER, name="eu-gdpr-34-individuals", is_so=False),
        Statement(kind=FactKind.NOTIFIED, name="us-ca-ag", at=LATER, reference="receipt 7"),
        Statement(kind=FactKind.DELAY, name="US-FL", reference="letter of 2 March"),
    ]
    for statement in stated:
        assert ledger.facts.state(incident, statement, "olga", LATER)
    expected = [statement.to_fact("olga", LATER) for statement in stated]
    assert list(ledger.facts.of_incident(incident)) == expected
    assert ledger.audit.verify().is_whole


def test_notification_of_an_older_ledger_is_readable() -> None:
    assert FactKind("told") is FactKind.NOTIFIED


def test_later_statement_keeps_the_earlier_one(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    ledger.facts.state(incident, AWARE, "olga", NOW)
    other = Statement(kind=FactKind.TIME, name="awareness", at=LATER)
    ledger.facts.state(incident, other, "ada", LATER)
    facts = ledger.facts.of_incident(incident)
    assert [fact.at for fact in facts.all_of(FactKind.TIME, "awareness")] == [NOW, LATER]
    latest = facts.latest(FactKind.TIME, "awareness")
    assert isinstance(latest, Fact)
    assert (latest.at, latest.author) == (LATER, "ada")


def test_repeated_statement_leaves_no_event(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    assert ledger.facts.state(incident, AWARE, "olga", NOW)
    events = ledger.newest_event()
    assert not ledger.facts.state(incident, AWARE, "ada", LATER)
    assert ledger.newest_event() == events
    assert len(list(ledger.facts.of_incident(incident))) == 1


def test_facts_belong_to_one_incident(ledger: Ledger) -> None:
    one, other = open_incident(ledger), open_incident(ledger)
    ledger.facts.state(one, AWARE, "olga", NOW)
    assert list(ledger.facts.of_incident(other)) == []


def test_a_fact_of_no_incident_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="incident inc-0000: unknown"):
        ledger.facts.state("inc-0000", AWARE, "olga", NOW)


def test_empty_statement_is_refused(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    with pytest.raises(ValueError, match="lacks its value"):
        ledger.facts.state(incident, Statement(kind=FactKind.AFFECTED, name="US-CA"), "olga", NOW)
    assert list(ledger.facts.of_incident(incident)) == []
