"""Matters that need a person now, from the state of the ledger.

The ledger is the database of incidents. A trigger is a configured way to open incidents from
outside, such as a webhook. A matter is something that needs the help or the decision of a person. A
call-out pages people about one matter, one person after another.

Rules
- There are two kinds of matters: about a trigger, and about approvals.
- A matter about a trigger covers the incidents that the trigger opened, and the alerts that it
  added to stopped incidents.
- A matter about approvals covers steps of live incidents that wait for approval. All incidents that
  the same trigger opened belong to one matter. An incident that no trigger opened has its own
  matter, and so has a quiet incident (hidden from most people).
- Exercises, which run against simulators, have no matters (decision 0045).
- About a trigger, the people on duty are paged first, then the people of `on_call.fallback`. If the
  trigger has `page_roles`, a person on duty is paged only with one of these roles.
- About approvals, the people who are paged are those who were asked for the approval by mail and
  have an entry in `on_call.people`. The request was not sent to people whose accounts are targets,
  so that an insider is not warned.
- A page about a trigger names an incident that the paged person may see. A page about approvals
  names an incident about which the paged person was asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from standfast.errors import ConfigurationError
from standfast.ledger.people.enrolment import Person
from standfast.ledger.runs.call_outs import AskedStep, CallOut, incident_of
from standfast.usecases.core.incident_visibility import is_quiet, is_visible
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.approval_escalation import target_of
from standfast.usecases.on_call.people_on_duty import on_duty
from standfast.usecases.triggers.message_intake import ACTOR, Trigger
from standfast.usecases.triggers.trigger_pages import Page, all_pages

_TRIGGER, _APPROVALS = "trigger", "approvals"


@dataclass(frozen=True, kw_only=True)
class Matter:
    """Something that needs the decision or help of a person now."""

    subject: str  # `trigger.TRIGGER`, `approvals.TRIGGER` or `approvals.INCIDENT`
    incident: str  # the incident that pages name
    covers: tuple[str, ...]  # names of the incidents, alerts or steps of the matter
    people: tuple[Person, ...]  # in the order of paging
    incident_by_person: Mapping[str, str] = field(default_factory=dict)  # replaces `incident`

    def incident_of(self, person: Person) -> str:
        """Return the incident that a page to this person names."""
        return self.incident_by_person.get(person.name, self.incident)

    @property
    def is_approval(self) -> bool:
        return self.subject.startswith(_APPROVALS)


def matters(installation: Installation, triggers: Mapping[str, Trigger]) -> Iterator[Matter]:
    """Yield all matters, acknowledged or not."""
    pages, steps = all_pages(installation), installation.ledger.call_outs.asked_steps()
    if not pages and not steps:
        return
    try:
        duty = on_duty(installation.config, installation.clock())
    except ConfigurationError:
        duty = ()  # the fallback is paged; `standfast check` reports the error of the calendar
    for page in pages:
        yield _trigger_matter(installation, page, triggers.get(page.trigger), duty)
    yield from _approval_matters(installation, steps, duty)


def _trigger_matter(
    installation: Installation, page: Page, trigger: Trigger | None, duty: Sequence[str]
) -> Matter:
    people, subject = installation.ledger.people, f"{_TRIGGER}.{page.trigger}"
    incident = _incident_to_name(installation, subject, page.subjects)
    row = installation.ledger.incidents.get(incident)
    fit = {person.name: person for person in people.all(trigger.page_roles if trigger else ())}
    found = [fit[name] for name in duty if name in fit]
    for role_or_person in installation.config.on_call.fallback:
        found += people.all([role_or_person])
    visible = [person for person in found if is_visible(row, person)]
    return Matter(
        subject=subject,
        incident=incident,
        covers=page.subjects,
        people=tuple({person.name: person for person in visible}.values()),
    )


def _approval_matters(
    installation: Installation, waiting: Sequence[AskedStep], duty: Sequence[str]
) -> Iterator[Matter]:
    """Yield the matters of the steps that wait for approval."""
    steps: dict[str, list[AskedStep]] = {}
    for step in waiting:
        row = installation.ledger.incidents.get(step[0])
        is_grouped = row.opened_by.startswith(ACTOR) and not is_quiet(row.playbook, row.scenario)
        source = row.opened_by.removeprefix(ACTOR) if is_grouped else row.id
        steps.setdefault(source, []).append(step)
    enrolled = installation.ledger.people.all() if steps else []
    for source, found in steps.items():
        asked: dict[str, list[str]] = {}  # by person: the steps that the person was asked about
        for step in found:
            for page in installation.ledger.effects.pages(*step):
                asked.setdefault(page.target, []).append(" ".join(map(str, step)))
        pagers = installation.config.on_call.people
        people = [
            person for person in enrolled if target_of(person) in asked and person.name in pagers
        ]
        people.sort(key=lambda person: (_rank(duty, person), person.name))
        subject = f"{_APPROVALS}.{source}"
        covers = tuple(" ".join(map(str, step)) for step in found)
        yield Matter(
            subject=subject,
            incident=_incident_to_name(installation, subject, covers),
            covers=covers,
            people=tuple(people),
            incident_by_person={
                person.name: _incident_to_name(installation, subject, asked[target_of(person)])
                for person in people
            },
        )


def _incident_to_name(installation: Installation, subject: str, covers: Sequence[str]) -> str:
    """Return the newest incident that the last call-out did not cover.

    If that call-out covered all incidents, return the newest incident.
    """
    newest = installation.ledger.call_outs.newest(subject)
    news = uncovered(newest, covers) if newest else covers
    return incident_of((news or covers)[-1])


def uncovered(call_out: CallOut, covers: Sequence[str]) -> list[str]:
    """Return the names in `covers` that a call-out does not cover."""
    return [name for name in covers if name not in set(call_out.covers)]


def _rank(duty: Sequence[str], person: Person) -> int:
    return duty.index(person.name) if person.name in duty else len(duty)
