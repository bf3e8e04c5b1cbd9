"""Text of the iCalendar feed (RFC 5545) of due dates.

Rules
- Each open obligation (a legal or contractual duty to notify somebody) is one entry, at the
  earliest date that any reading of the rule allows. The identity of an entry is constant. A
  calendar program that reads the feed again therefore moves the entry instead of adding another
  entry. The program removes entries that are no longer in the feed.
- A fact is a dated statement about the incident, such as the time of awareness. The same facts
  produce the same text, because the time stamp of an entry is the time of the last statement.
- An entry contains the id of the incident, the recipient of the notification and the citation of
  the law. It contains no affected person and no details of the incident.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from icalendar import Alarm, Calendar, Event, Timezone, TimezoneStandard

from standfast.deadlines import NOT_ADVICE
from standfast.deadlines.obligations import Kind, Obligation
from standfast.records import Mode
from standfast.usecases.core.incident_visibility import is_visible
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import incident_clocks, is_open

_AHEAD = timedelta(hours=4)
_READ_AGAIN_AFTER = timedelta(minutes=15)


def due_calendar(installation: Installation, incident_id: str) -> tuple[str, int]:
    """Return the calendar of one incident, and the number of its due dates."""
    return _written(installation, f"Due in {incident_id}", [incident_id])


def due_feed(installation: Installation, subscriber: str) -> str:
    """Return the calendar of all live incidents that the subscriber may see.

    Include closed incidents: the closing of an incident ends no obligation.
    """
    stated = installation.ledger.facts.incidents_with_facts()
    person = next(
        (
            candidate
            for candidate in installation.ledger.people.all()
            if candidate.name == subscriber
        ),
        None,
    )
    incidents = [
        incident.id
        for incident in installation.ledger.incidents.all()
        if incident.mode is Mode.LIVE and incident.id in stated and is_visible(incident, person)
    ]
    return _written(installation, f"Due: {installation.config.organisation.name}", incidents)[0]


def _written(installation: Installation, name: str, incidents: Sequence[str]) -> tuple[str, int]:
    calendar = Calendar()
    calendar.add("prodid", "-//Standfast//deadlines//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", name)
    # The refresh interval, as RFC 7986 defines it, and in the property that Outlook reads instead.
    calendar.add("refresh-interval", _READ_AGAIN_AFTER, parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", "PT15M")
    events = [event for incident_id in incidents for event in _events(installation, incident_id)]
    for event in events:
        calendar.add_component(event)
    if not events:
        calendar.add_component(_utc())  # RFC 5545, 3.6: a calendar has at least one component
    return calendar.to_ical().decode(), len(events)


def _events(installation: Installation, incident_id: str) -> list[Event]:
    clocks = incident_clocks(installation, incident_id)
    due = [(clock.obligation, clock.due.strict) for clock in clocks if is_open(clock) and clock.due]
    if not due:
        return []
    stated_at = max(fact.recorded_at for fact in installation.ledger.facts.of_incident(incident_id))
    return [_event(stated_at, incident_id, obligation, moment) for obligation, moment in due]


def _utc() -> Timezone:
    """Return the UTC time zone as a component, for a calendar without events."""
    standard = TimezoneStandard()
    standard.add("dtstart", datetime(1970, 1, 1))  # noqa: DTZ001 - times of a zone have no zone
    standard.add("tzoffsetfrom", timedelta())
    standard.add("tzoffsetto", timedelta())
    zone = Timezone()
    zone.add("tzid", "UTC")
    zone.add_component(standard)
    return zone


def _event(stated_at: datetime, incident_id: str, obligation: Obligation, due: datetime) -> Event:
    is_hold = obligation.limit.kind is Kind.NOT_BEFORE
    event = Event()
    event.add("uid", f"{obligation.id}@{incident_id}.standfast")
    event.add("dtstamp", stated_at)
    event.add("dtstart", due)  # without `dtend`, which must be later (RFC 5545, 3.8.2.2)
    verb = "from now on: notify" if is_hold else "due: notify"
    event.add("summary", f"{incident_id} {verb} {obligation.recipient_name}")
    event.add(
        "description",
        f"{obligation.citation}. Details: standfast deadline list {incident_id}\n{NOT_ADVICE}",
    )
    event.add("transp", "TRANSPARENT")
    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", f"{incident_id}: {obligation.recipient_name}")
    alarm.add("trigger", -_AHEAD)
    event.add_component(alarm)
    return event
