"""Calendar of recurring practice: drills, exercises and attestations.

Rules
- A drill is a measured test restore. An exercise runs a playbook (the file that describes the
  response to one kind of incident) against simulators. An attestation is a signed statement of a
  person that work was done.
- An entry is due `every_days` after its practice was last done. An attestation is due earlier if
  its validity ends earlier. If the practice was never done, the entry is due `every_days` after the
  start of the ledger (the database of runs and incidents).
- A drill is accepted if it succeeded, even if it missed a time objective. A live incident is
  accepted as an exercise of its playbook. An attestation is accepted if it is signed and not
  withdrawn.
- The owner of an entry (the responsible person) is notified on the day after the due date. The
  person in `escalates_to` is notified `escalates_after_days` later. When the overdue practice has
  been done, both people are notified.
- If an entry is removed from the configuration, its alarm ends without a notification.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from standfast.config.sections.continuity import CalendarEntryConfig
from standfast.continuity.clock_skew import newest
from standfast.local_time import day
from standfast.records import JsonObject
from standfast.usecases.alarms.notification import Alarm
from standfast.usecases.continuity.attestations import Attestation, current_attestations, today_of
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault
from standfast.usecases.exercises.tested_playbooks import last_tested

PRACTICE = "practice"  # the kind of the calendar's alarms


@dataclass(frozen=True, kw_only=True)
class CalendarEntry:
    """One entry of the calendar, with its state today."""

    name: str
    kind: str
    subject: str
    owner: str
    escalates_to: str | None
    last_done: date | None
    due: date  # the last day on which the practice is in time
    escalates_on: date
    today: date

    @property
    def is_overdue(self) -> bool:
        return self.today > self.due

    @property
    def is_escalated(self) -> bool:
        is_late = self.is_overdue and self.today >= self.escalates_on
        return is_late and self.escalates_to is not None

    @property
    def what_to_do(self) -> str:
        """The command that does the practice."""
        match self.kind:
            case "drill":
                target = self.subject.removeprefix("service.")
                return f"`standfast drill run {target} --identity FILE`"
            case "exercise":
                return f"`standfast incident open {self.subject} --exercise`"
            case _:
                return f"`standfast continuity attest {self.subject} --as PERSON --file FILE`"

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "name": self.name,
            "kind": self.kind,
            "subject": self.subject,
            "owner": self.owner,
            "escalates_to": self.escalates_to,
            "last_done": self.last_done.isoformat() if self.last_done else None,
            "due": self.due.isoformat(),
            "escalates_on": self.escalates_on.isoformat(),
            "is_overdue": self.is_overdue,
            "is_escalated": self.is_escalated,
        }


def calendar(installation: Installation) -> tuple[CalendarEntry, ...]:
    """Return all entries, the most urgent first."""
    settings = installation.config.continuity.calendar
    attested = current_attestations(installation) if settings else {}
    entries = [_entry(installation, name, entry, attested) for name, entry in settings.items()]
    return tuple(sorted(entries, key=lambda entry: (entry.due, entry.name)))


def practice_alarms(installation: Installation) -> Iterator[Alarm]:
    """Yield the alarm of each entry; it is raised if the entry is overdue."""
    for entry in calendar(installation):
        next_person = filter(None, (entry.escalates_to,))
        if entry.is_escalated:
            roles, about = tuple(next_person), f"escalated {entry.due}"
        elif entry.is_overdue:
            roles, about = (entry.owner,), f"overdue {entry.due}"
        else:
            roles, about = (entry.owner, *next_person), ""
        yield Alarm(
            subject=f"{PRACTICE}.{entry.name}",
            shown=entry.name,
            is_raised=entry.is_overdue,
            template="practice-reminder",
            roles=roles,
            values={
                "owner": entry.owner.removeprefix("person:"),
                "due": entry.due.isoformat(),
                "is_escalated": entry.is_escalated,
                "command": "standfast continuity calendar",
            },
            about=about,
        )


def _entry(
    installation: Installation,
    name: str,
    settings: CalendarEntryConfig,
    attested: Mapping[str, Attestation],
) -> CalendarEntry:
    zone, every = installation.config.organisation.time_zone, timedelta(days=settings.every_days)
    began = installation.ledger.audit.began_at() or installation.clock()
    last_done, due = None, day(began, zone) + every
    if settings.kind == "attestation":
        if found := attested.get(settings.subject):
            last_done = found.done_on
            due = min(found.done_on + every, found.valid_until)
    elif done := _last_practice(installation, settings):
        last_done = day(done, zone)
        due = last_done + every
    return CalendarEntry(
        name=name,
        kind=settings.kind,
        subject=settings.subject,
        owner=settings.owner,
        escalates_to=settings.escalates_to,
        last_done=last_done,
        due=due,
        escalates_on=due + timedelta(days=1 + settings.escalates_after_days),
        today=today_of(installation),
    )


def _last_practice(installation: Installation, settings: CalendarEntryConfig) -> datetime | None:
    if settings.kind == "exercise":
        return last_tested(installation).get(settings.subject)
    runs = runs_of_vault(
        installation.config,
        installation.ledger.runs.all("drill", settings.subject, states=("done", "partial")),
    )
    return newest([run.started_at for run in runs], installation.clock())
