"""What is due as an iCalendar feed (RFC 5545), for the calendars that people look at anyway.

Rules
- One entry a duty, at its strict end, with the same identity each time: a calendar that is read
  again moves the entry instead of adding one, and drops what is due no longer.
- The same facts give the same text: an entry is of the moment when something was last stated.
- It names the duty and the rule; nobody affected, and nothing of what happened.
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
    """Give the calendar of one incident as text, and how many due dates it has."""
    return _written(installation, f"Due in {incident_id}", [incident_id])


def due_feed(installation: Installation, subscriber: str) -> str:
    """Return the calendar of every live incident that the subscriber may see, closed ones too."""
    stated = installation.ledger.facts.stated_of()
    person = next((one for one in installation.ledger.people.all() if one.name == subscriber), None)
    incidents = [
        one.id
        for one in installation.ledger.incidents.all()
        if one.mode is Mode.LIVE and one.id in stated and is_visible(one, person)
    ]
    return _written(installation, f"Due: {installation.config.organisation.name}", incidents)[0]


def _written(installation: Installation, name: str, incidents: Sequence[str]) -> tuple[str, int]:
    calendar = Calendar()
    calendar.add("prodid", "-//Standfast//deadlines//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", name)
    # RFC 7986 and what Outlook reads instead: how often a subscriber is to look.
    calendar.add("refresh-interval", _READ_AGAIN_AFTER, parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", "PT15M")
    events = [event for incident_id in incidents for event in _events(installation, incident_id)]
    for event in events:
        calendar.add_component(event)
    if not events:
        calendar.add_component(_utc())  # RFC 5545, 3.6: one component at least
    return calendar.to_ical().decode(), len(events)


def _events(installation: Installation, incident_id: str) -> list[Event]:
    clocks = incident_clocks(installation, incident_id)
    due = [(clock.obligation, clock.due.strict) for clock in clocks if is_open(clock) and clock.due]
    if not due:
        return []
    stated_at = max(fact.recorded_at for fact in installation.ledger.facts.of(incident_id))
    return [_event(stated_at, incident_id, one, moment) for one, moment in due]


def _utc() -> Timezone:
    """Give the one time zone that is used: what stands there while nothing is due."""
    standard = TimezoneStandard()
    standard.add("dtstart", datetime(1970, 1, 1))  # noqa: DTZ001 - a zone's own times have none
    standard.add("tzoffsetfrom", timedelta())
    standard.add("tzoffsetto", timedelta())
    zone = Timezone()
    zone.add("tzid", "UTC")
    zone.add_component(standard)
    return zone


def _event(stated_at: datetime, incident_id: str, one: Obligation, due: datetime) -> Event:
    is_hold = one.limit.kind is Kind.NOT_BEFORE
    event = Event()
    event.add("uid", f"{one.id}@{incident_id}.standfast")
    event.add("dtstamp", stated_at)
    event.add("dtstart", due)  # and no end: 3.8.2.2 wants one to be later
    what = "from now on: tell" if is_hold else "due: tell"
    event.add("summary", f"{incident_id} {what} {one.recipient_name}")
    event.add(
        "description",
        f"{one.citation}. See it: standfast deadline list {incident_id}\n{NOT_ADVICE}",
    )
    event.add("transp", "TRANSPARENT")
    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", f"{incident_id}: {one.recipient_name}")
    alarm.add("trigger", -_AHEAD)
    event.add_component(alarm)
    return event
