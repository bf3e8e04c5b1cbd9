"""Notes of an incident: added, never changed, with author and time."""

from datetime import timedelta

from standfast.ledger import Ledger
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import open_incident

LATER = NOW + timedelta(hours=2)


def test_notes_are_returned_as_added(ledger: Ledger) -> None:
    one, other = open_incident(ledger), open_incident(ledger)
    first = ledger.notes.add(one, "The caller rang again.", author="olga", now=NOW)
    second = ledger.notes.add(
        one, "A letter.", author="ada", now=LATER, files=1, folder="notes/7", seal={"manifest": "m"}
    )
    assert ledger.notes.of_incident(one) == [first, second]
    assert (second.number, second.author, second.recorded_at) == (2, "ada", LATER)
    assert ledger.notes.of_incident(other) == []
    event = ledger.timeline(one)[-1]
    assert (event.action, event.actor) == ("incident.noted", "ada")
    assert event.detail == {"number": 2, "files": 1, "manifest": "m"}
    assert ledger.audit.verify().is_whole


def test_repeated_note_leaves_no_event(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    note = ledger.notes.add(incident, "Seen.", author="olga", now=NOW)
    events = ledger.newest_event()
    assert ledger.notes.add(incident, "Seen.", author="olga", now=LATER) == note
    assert ledger.newest_event() == events
    assert ledger.notes.add(incident, "Seen.", author="ada", now=LATER).number == 2
