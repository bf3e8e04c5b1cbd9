"""What is due as an iCalendar feed (RFC 5545), for the calendars that people look at anyway.

Rules
- One entry a duty, at its strict end, with the same identity each time: a calendar that is read
  again moves the entry instead of adding one.
- It names the duty and the rule; nobody affected, and nothing of what happened.
"""

from datetime import datetime, timedelta

from icalendar import Alarm, Calendar, Event

from standfast.deadlines import NOT_ADVICE
from standfast.deadlines.obligation import Kind, Obligation
from standfast.operations.deadlines import incident_clocks, is_open
from standfast.operations.place import Place

_AHEAD = timedelta(hours=4)


def due_calendar(place: Place, incident_id: str) -> tuple[str, int]:
    """Give the calendar as text, and how many due dates it has."""
    calendar = Calendar()
    calendar.add("prodid", "-//Standfast//deadlines//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", f"Due in {incident_id}")
    clocks = incident_clocks(place, incident_id)
    due = [(clock.obligation, clock.due.strict) for clock in clocks if is_open(clock) and clock.due]
    for one, moment in due:
        calendar.add_component(_event(place, incident_id, one, moment))
    return calendar.to_ical().decode(), len(due)


def _event(place: Place, incident_id: str, one: Obligation, due: datetime) -> Event:
    is_hold = one.limit.kind is Kind.NOT_BEFORE
    event = Event()
    event.add("uid", f"{one.id}@{incident_id}.standfast")
    event.add("dtstamp", place.clock())
    event.add("dtstart", due)
    event.add("dtend", due)
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
