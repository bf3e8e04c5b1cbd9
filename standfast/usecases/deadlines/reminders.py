"""Reminders of legal clocks: at a half, three quarters, nine tenths of the time, and when missed.

Rules
- Each mark of each duty is told once, by whichever watcher sees it first; a mark that was slept
  through is told when somebody wakes, and the earlier ones of that duty are not told any more.
- A duty that has no number of days is told once, when its clock starts: it is due now.
- Closing an incident ends no legal clock: it is reminded of until it is told, or not owed.
- Where law enforcement asked to wait and did not say until when, each week reminds to ask them
  whether it still holds: nobody else will say that the clock runs again.
- That a duty is done, not owed or held ends its reminders, and is told once.
- A quiet incident is named only to people that may see it (`quiet_incidents`).
- A message names the duty and the incident; nobody affected, and nothing of what happened.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from standfast.deadlines.legal_clocks import Clock, Standing
from standfast.deadlines.obligations import Kind
from standfast.local_time import minute
from standfast.records import Mode
from standfast.usecases.alarms.notification import Alarm
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import incident_clocks

MARKS = (50, 75, 90)  # per cent of the time that is gone
MISSED = 100
ASK_AGAIN_EVERY = timedelta(days=7)
_STARTED = "started"
_ASK = "ask"


def reminders(installation: Installation) -> Iterator[Alarm]:
    """Give an alarm for each duty of each live incident, raised or not."""
    stated = installation.ledger.facts.stated_of()
    if not stated:
        return
    for incident in installation.ledger.incidents.all():
        if incident.mode is Mode.LIVE and incident.id in stated:
            for clock in incident_clocks(installation, incident.id):
                yield _alarm(installation, incident.id, clock, installation.clock())


def mark_of(clock: Clock, now: datetime) -> str:
    """Name the newest mark that a clock has passed; empty before the first, and when it stands."""
    if clock.standing is Standing.MISSED:
        return str(MISSED)
    if clock.open_delay is not None:
        weeks = (now - clock.open_delay.recorded_at) // ASK_AGAIN_EVERY
        return f"{_ASK} {weeks}" if weeks else ""
    if clock.standing is not Standing.RUNNING or clock.obligation.limit.kind is Kind.NOT_BEFORE:
        return ""
    gone = clock.share_gone(now)
    if gone is None:
        return _STARTED
    return str(max((mark for mark in MARKS if gone * 100 >= mark), default=""))


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
