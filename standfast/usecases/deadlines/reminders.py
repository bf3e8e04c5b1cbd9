"""Reminders of legal clocks at shares of their time, and during delays.

A legal clock is the running deadline of one obligation, a legal or contractual duty to notify
somebody. A mark is a share of the period of the clock, such as 75 %. The watchdog is the part of
Standfast that regularly checks for faults and passed marks, and notifies people.

Rules
- After a clock has passed a mark, the next run of the watchdog sends one reminder. If several marks
  have passed since the last run, it sends a reminder of only the newest mark.
- An obligation without a fixed period has one reminder, when its clock starts, because such an
  obligation is due immediately.
- The closing of an incident ends no legal clock: reminders continue until the obligation is done or
  not owed.
- If law enforcement asked to wait and named no end, a weekly reminder asks whether the request is
  still valid. Without this reminder, people could forget to start the clock again.
- The reminders of an obligation end when it is done or not owed, and pause while law enforcement
  asks to wait. One message reports the end or the pause.
- A quiet incident, which is hidden from most people, is named only to people who may see it
  (`incident_visibility`).
- A message names the obligation and the incident, but no affected person and no details of the
  incident.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from standfast.deadlines.legal_clocks import Clock, ClockState
from standfast.deadlines.obligations import Kind
from standfast.local_time import minute
from standfast.records import Mode
from standfast.usecases.alarms.notification import Alarm
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import incident_clocks

MARKS = (50, 75, 90)  # percent of the period that has passed
MISSED = 100
ASK_AGAIN_EVERY = timedelta(days=7)
_STARTED = "started"
_ASK = "ask"


def reminders(installation: Installation) -> Iterator[Alarm]:
    """Yield an alarm for each obligation of live incidents.

    The alarm is raised (its `is_raised` is true) if the clock has passed a mark.
    """
    stated = installation.ledger.facts.incidents_with_facts()
    if not stated:
        return
    for incident in installation.ledger.incidents.all():
        if incident.mode is Mode.LIVE and incident.id in stated:
            for clock in incident_clocks(installation, incident.id):
                yield _alarm(installation, incident.id, clock, installation.clock())


def mark_of(clock: Clock, now: datetime) -> str:
    """Return the newest mark that a clock has passed; "" before the first."""
    if clock.state is ClockState.MISSED:
        return str(MISSED)
    if clock.open_delay is not None:
        weeks = (now - clock.open_delay.recorded_at) // ASK_AGAIN_EVERY
        return f"{_ASK} {weeks}" if weeks else ""
    if clock.state is not ClockState.RUNNING or clock.obligation.limit.kind is Kind.NOT_BEFORE:
        return ""
    elapsed = clock.elapsed_share(now)
    if elapsed is None:
        return _STARTED
    return str(max((mark for mark in MARKS if elapsed * 100 >= mark), default=""))


def _alarm(installation: Installation, incident_id: str, clock: Clock, now: datetime) -> Alarm:
    mark = mark_of(clock, now)
    due = clock.due
    return Alarm(
        subject=f"deadline.{incident_id}.{clock.obligation.id}",
        shown=incident_id,
        is_raised=bool(mark),
        template="deadline-reminder",
        roles=installation.config.deadlines.reminder_roles,
        values={
            "recipient_name": clock.obligation.recipient_name,
            "citation": clock.obligation.citation,
            "is_missed": mark == str(MISSED),
            "is_to_ask": mark.startswith(_ASK),
            "has_date": due is not None,
            "due": minute(due.strict, installation.config.organisation.time_zone) if due else "",
            "percent": int(mark) if mark.isdecimal() else 0,
            "command": f"standfast deadline list {incident_id}",
        },
        about=mark,
        incident=incident_id,
    )
