"""Call-outs: pages to people on call until somebody acknowledges.

Rules
- A call-out is about what one trigger opened or added to a stopped incident, or about the steps of
  live incidents that wait for approval. It is separate from the mail about the same matter.
- For a trigger, the people on duty are paged first, then the fallback; `page_roles` applies to the
  people on duty. For approvals, only people that were asked for the approval are paged: an insider
  must not be warned. A quiet incident pages only people that may see it.
- Each person is paged by the pagers of the configuration, one after another, and a person without a
  pager by mail. Everything is computed again for each page, so a change of shift applies at once.
- A page that failed is followed by the next at once. A page whose outcome is unknown is not sent
  again in the same round.
- A trigger has at most one open call-out, whatever it opens meanwhile, and the next one begins ten
  minutes after the last: a flood of alerts pages as one alert does.
- Exercises page nobody (decision 0045).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from standfast.errors import ApprovalRefused, ConfigurationError
from standfast.ledger.people.enrolment import Person
from standfast.ledger.runs.call_outs import CallOut, CallOutState
from standfast.playbook.parser.playbook_file import load
from standfast.records import EffectState, Json, Mode
from standfast.usecases.core.incident_visibility import (
    account_spellings,
    accounts_named,
    is_quiet,
    is_visible,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.staff_messages import notify_each
from standfast.usecases.incidents.approval_request_message import target_of
from standfast.usecases.on_call.duties import on_duty
from standfast.usecases.triggers.message_intake import ACTOR, Trigger
from standfast.usecases.triggers.on_call_pages import Page, all_pages

_TEMPLATE = "call-out"
_APART = timedelta(minutes=10)
_LONGEST_SENDING = timedelta(minutes=2)  # after this time the sender of a page counts as dead
_TRIGGER, _APPROVALS = "trigger", "approvals"


@dataclass(frozen=True, kw_only=True)
class Matter:
    """Something that needs a person now."""

    subject: str  # `trigger.NAME`, or `approvals.` and a trigger or an incident
    incident: str  # the incident that pages name
    covers: tuple[str, ...]  # incidents, alerts or steps
    people: tuple[Person, ...]  # in the order of paging

    @property
    def is_approval(self) -> bool:
        return self.subject.startswith(_APPROVALS)


@dataclass(frozen=True, kw_only=True)
class NextPage:
    """The next page of a call-out, and the pause before it."""

    person: Person
    sender: str  # "" is the default sender
    pause: timedelta


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """The result of an acknowledgement."""

    incident: str
    ended: int  # call-outs that it ended
    earlier: CallOut | None  # the newest call-out, if none was open


def attend(installation: Installation, triggers: Mapping[str, Trigger]) -> Iterator[str]:
    """Begin, continue and end all call-outs; yield a line for a log each."""
    if not installation.config.on_call.is_used:
        return
    matters = {matter.subject: matter for matter in _matters(installation, triggers)}
    calls, now = installation.ledger.call_outs, installation.clock
    for call_out in calls.open():
        matter = matters.get(call_out.subject)
        if matter is None and calls.end(call_out, CallOutState.OVER, (), installation.actor, now()):
            yield f"call-out {call_out.subject}: nothing is left that needs a person"
    for matter in matters.values():
        if _is_new(installation, matter) and calls.begin(
            matter.subject, matter.incident, matter.covers, installation.actor, now()
        ):
            yield f"call-out {matter.subject}: began, for {matter.incident}"
    for call_out in calls.open():
        if matter := matters.get(call_out.subject):
            yield from _continue(installation, call_out, matter)


def acknowledge(
    installation: Installation,
    triggers: Mapping[str, Trigger],
    incident_id: str,
    by: str | None,
) -> Acknowledgement:
    """End the call-outs about an incident; `by` is the person that signed in.

    Raise ApprovalRefused if nobody signed in, and for a person that may not see the incident or
    has an account among its targets.
    """
    row = installation.ledger.incidents.get(incident_id)
    if by is None:
        raise ApprovalRefused(
            f"call-out of {incident_id}: nobody signed in. Add --as PERSON; pages continue."
        )
    _refuse_unfit(installation, incident_id, by)
    calls, ended = installation.ledger.call_outs, 0
    for call_out, covers in open_call_outs(installation, triggers, row.id):
        if calls.end(call_out, CallOutState.ACKNOWLEDGED, covers, by, installation.clock()):
            ended += 1
            if call_out.incident != row.id:  # the timeline of each of the two has the event
                detail: dict[str, Json] = {"subject": call_out.subject}
                installation.record_event(row.id, "call-out.acknowledged", detail, by=by)
    earlier = next(iter(calls.of_incident(row.id)), None)
    return Acknowledgement(incident=row.id, ended=ended, earlier=None if ended else earlier)


def open_call_outs(
    installation: Installation, triggers: Mapping[str, Trigger], incident_id: str
) -> list[tuple[CallOut, tuple[str, ...]]]:
    """Return the open call-outs about an incident, with their subjects now."""
    found = installation.ledger.call_outs.open()
    if not found:
        return []
    matters = {matter.subject: matter for matter in _matters(installation, triggers)}
    covered = [
        (call_out, matter.covers if (matter := matters.get(call_out.subject)) else ())
        for call_out in found
    ]
    return [
        (call_out, covers)
        for call_out, covers in covered
        if call_out.is_about(incident_id) or incident_id in map(_incident_of, covers)
    ]


def next_page(installation: Installation, call_out: CallOut, matter: Matter) -> NextPage | None:
    """Return the next page; None if everybody was paged in every round."""
    rota = installation.config.on_call
    sent = Counter((page.person, page.sender) for page in call_out.pages)
    for round_ in range(rota.rounds):
        for person in matter.people:
            settings = rota.people.get(person.name)
            pagers = [(p.sender, p.after_minutes) for p in settings.pagers] if settings else []
            for number, (sender, minutes) in enumerate(pagers or [("", 0)]):
                if sent[person.name, sender] <= round_:
                    minutes = minutes if number else rota.escalate_after_minutes
                    return NextPage(
                        person=person,
                        sender=sender,
                        pause=_pause(call_out, timedelta(minutes=minutes)),
                    )
    return None


def _pause(call_out: CallOut, pause: timedelta) -> timedelta:
    """Return the time between the last page and the next."""
    match call_out.pages[-1].state if call_out.pages else EffectState.FAILED:
        case EffectState.FAILED | EffectState.REFUSED:
            return timedelta()
        case EffectState.SUBMITTING:
            return max(pause, _LONGEST_SENDING)
    return pause


def _continue(installation: Installation, call_out: CallOut, matter: Matter) -> Iterator[str]:
    """Send the pages that are due."""
    calls = installation.ledger.call_outs
    for _ in range(len(call_out.pages), 10_000):
        page, now = next_page(installation, call_out, matter), installation.clock()
        last = call_out.pages[-1].at if call_out.pages else None
        pause = timedelta(minutes=installation.config.on_call.escalate_after_minutes)
        pause = page.pause if page else pause
        # `abs`, because a clock that was ahead must not delay a page.
        if last is not None and abs(now - last) < pause:
            return
        if page is None:
            calls.end(call_out, CallOutState.UNANSWERED, matter.covers, installation.actor, now)
            yield f"call-out {matter.subject}: nobody acknowledged, and everybody was paged"
            return
        name, sender = page.person.name, page.sender
        if not calls.begin_page(call_out, name, sender, installation.actor, now):
            return
        number = len(call_out.pages) + 1
        state = _send(installation, matter, page, f"{call_out.id}.{number}")
        calls.finish_page(call_out.id, number, state, installation.actor, installation.clock())
        yield f"call-out {matter.subject}: page {number} to {name}: {state.value}"
        following = [found for found in calls.open() if found.id == call_out.id]
        if not following:
            return
        call_out = following[0]


def _send(installation: Installation, matter: Matter, page: NextPage, token: str) -> EffectState:
    counts, _ = notify_each(
        installation,
        _TEMPLATE,
        {
            "incident_id": matter.incident,
            "count": len(matter.covers),
            "has_more": len(matter.covers) > 1,
            "is_approval": matter.is_approval,
            "has_console": installation.config.serve.console is not None,
            "command": f"standfast incident acknowledge {matter.incident} --as {page.person.name}",
        },
        [page.person],
        token,
        sender_name=page.sender or None,
    )
    return next(iter(counts))


def _is_new(installation: Installation, matter: Matter) -> bool:
    """Return whether a call-out must begin now."""
    newest = installation.ledger.call_outs.newest(matter.subject)
    if newest is None:
        return True
    if newest.state is CallOutState.OPEN or set(matter.covers) <= set(newest.covers):
        return False
    # `abs`, because a clock that was ahead must not delay a new call-out.
    return newest.ended_at is None or abs(installation.clock() - newest.ended_at) >= _APART


def _matters(installation: Installation, triggers: Mapping[str, Trigger]) -> Iterator[Matter]:
    try:
        duty = on_duty(installation.config, installation.clock())
    except ConfigurationError:
        duty = ()  # the fallback is paged; `standfast check` reports the calendar
    for page in all_pages(installation):
        matter = _trigger_matter(installation, page, triggers.get(page.trigger), duty)
        if matter.people:
            yield matter
    yield from _approval_matters(installation, duty)


def _trigger_matter(
    installation: Installation, page: Page, trigger: Trigger | None, duty: Sequence[str]
) -> Matter:
    people = installation.ledger.people
    incident = page.waiting[-1].incident if page.waiting else page.incidents[-1].id
    row = installation.ledger.incidents.get(incident)
    fit = {person.name: person for person in people.all(trigger.page_roles if trigger else ())}
    found = [fit[name] for name in duty if name in fit]
    for rung in installation.config.on_call.fallback:
        found += people.all([rung])
    visible = [person for person in found if is_visible(row, person)]
    return Matter(
        subject=f"{_TRIGGER}.{page.trigger}",
        incident=incident,
        covers=page.subjects,
        people=tuple({person.name: person for person in visible}.values()),
    )


def _approval_matters(installation: Installation, duty: Sequence[str]) -> Iterator[Matter]:
    """Yield the steps that wait for approval, grouped by trigger."""
    steps: dict[str, list[tuple[str, str, int]]] = {}
    for step in installation.ledger.call_outs.asked_steps():
        row = installation.ledger.incidents.get(step[0])
        is_grouped = row.opened_by.startswith(ACTOR) and not is_quiet(row.playbook, row.scenario)
        source = row.opened_by.removeprefix(ACTOR) if is_grouped else row.id
        steps.setdefault(source, []).append(step)
    enrolled = installation.ledger.people.all() if steps else []
    for source, found in steps.items():
        asked = {
            page.target
            for incident, step_name, round_ in found
            for page in installation.ledger.effects.pages(incident, step_name, round_)
        }
        pagers = installation.config.on_call.people
        people = [
            person for person in enrolled if target_of(person) in asked and person.name in pagers
        ]
        people.sort(key=lambda person: (_rank(duty, person), person.name))
        if people:
            yield Matter(
                subject=f"{_APPROVALS}.{source}",
                incident=found[0][0],
                covers=tuple(" ".join(map(str, step)) for step in found),
                people=tuple(people),
            )


def _incident_of(name: str) -> str:
    """Return the incident of a name in `covers`."""
    return name.partition(" ")[0]


def _rank(duty: Sequence[str], person: Person) -> int:
    return duty.index(person.name) if person.name in duty else len(duty)


def _refuse_unfit(installation: Installation, incident_id: str, by: str) -> None:
    row = installation.ledger.incidents.get(incident_id)
    person = installation.ledger.people.get(by)
    if not is_visible(row, person):
        raise ApprovalRefused(
            f"call-out of {incident_id}: {by} is not among the people of this quiet incident. "
            "Another person must acknowledge it; pages continue."
        )
    if why := installation.ledger.people.objection(by, (), installation.clock()):
        raise ApprovalRefused(why)
    playbook = load(row.playbook, row.scenario)
    own = account_spellings([*person.accounts, person.name, person.mail])
    if row.mode is not Mode.EXERCISE and accounts_named(playbook, row.inputs) & own:
        raise ApprovalRefused(
            f"call-out of {incident_id}: an account of {by} is among its targets. Another person "
            "must acknowledge it; pages continue."
        )
