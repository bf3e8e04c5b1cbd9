"""Call-outs: next person and pager, rounds, pauses, acknowledgements.

Rules
- A call-out pages the people on call, one after another, until somebody acknowledges it. A page is
  a message that asks one person to act. The call-out is about one matter (module `matters`): either
  incidents of one trigger (a way to open incidents from outside, such as a webhook), or approvals.
  A mail about the same matter is sent separately.
- A pager is a sender that reaches one person, such as an SMS service. A person is paged by each of
  the pagers that the configuration names for the person, one after another. A person without a
  pager is paged by mail.
- The order of the pages is computed again before each page, so that a change of shift applies at
  once.
- Each page is recorded by compare-and-swap on its number before it is sent, so that only one of
  several hosts sends it.
- If a page failed, the next page follows at once. A page whose outcome is unknown is not sent again
  in the same round.
- A round pages everybody once. The configuration limits the number of rounds. A round in which
  every page failed is not included in this number, because an outage of the network must not use up
  the rounds. The next round then begins after a pause.
- A trigger has at most one open call-out, however many incidents it opens meanwhile. After its end,
  at least ten minutes pass before the next call-out begins. A flood of alerts therefore causes
  about as many pages as one alert.
- An acknowledgement does not cover an incident that is hidden from the person, or in which an
  account of the person is a target. Another call-out begins for such an incident.
- A call-out that ended unanswered can still be acknowledged. The acknowledgement then covers only
  the incidents that the call-out covered when it ended. For later incidents, another call-out
  begins.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from standfast.config.sections.on_call import OnCallConfig
from standfast.errors import ApprovalRefused
from standfast.ledger.people.enrolment import Person
from standfast.ledger.runs.call_outs import CallOut, CallOutState, incident_of
from standfast.playbook.parser.playbook_file import load
from standfast.records import EffectState, Mode
from standfast.usecases.core.incident_visibility import (
    account_spellings,
    accounts_named,
    is_visible,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.staff_messages import notify_each
from standfast.usecases.on_call.matters import Matter, matters, uncovered
from standfast.usecases.triggers.message_intake import Trigger

_TEMPLATE = "call-out"
_APART = timedelta(minutes=10)  # from the end of a call-out to the beginning of the next
_LONGEST_SENDING = timedelta(minutes=2)  # a process that sends for longer is treated as dead
_NOT_SENT = (EffectState.FAILED, EffectState.REFUSED)
_MOST_PAGES = 500
_DEFAULT_SENDER = ""


@dataclass(frozen=True, kw_only=True)
class NextPage:
    """The next page of a call-out, and the pause before it."""

    person: Person
    sender: str  # "" is the default sender
    round: int  # from 0
    pause: timedelta


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """The result of an acknowledgement."""

    incident: str
    ended: int  # number of acknowledged call-outs
    late: int  # number of acknowledged call-outs that had ended unanswered
    earlier: CallOut | None  # the newest call-out of the incident, if `ended` is 0


def attend(installation: Installation, triggers: Mapping[str, Trigger]) -> Iterator[str]:
    """Begin, continue and end all call-outs; yield a log line for each change."""
    if not installation.config.on_call.is_used:
        return
    by_subject = {matter.subject: matter for matter in matters(installation, triggers)}
    calls, now = installation.ledger.call_outs, installation.clock
    for call_out in calls.list_open():
        matter = by_subject.get(call_out.subject)
        if matter is None and calls.end(
            call_out, CallOutState.OVER, call_out.covers, installation.actor, now()
        ):
            yield f"call-out {call_out.subject}: nothing is left that needs a person"
    for matter in by_subject.values():
        if _is_new(installation, matter) and calls.begin(
            matter.subject, matter.incident, matter.covers, installation.actor, now()
        ):
            yield f"call-out {matter.subject}: began, for {matter.incident}"
    for call_out in calls.list_open():
        if matter := by_subject.get(call_out.subject):
            yield from _continue(installation, call_out, matter)


def acknowledge(
    installation: Installation,
    triggers: Mapping[str, Trigger],
    incident_id: str,
    by: str | None,
) -> Acknowledgement:
    """Acknowledge the open and unanswered call-outs about an incident.

    `by` is the name of the person that signed in. Raise ApprovalRefused if nobody signed in, if the
    person may not see the incident, and if an account of the person is among its targets.
    """
    row = installation.ledger.incidents.get(incident_id)
    if by is None:
        raise ApprovalRefused(f"call-out of {incident_id}: nobody signed in. Add --as PERSON.")
    _refuse_unfit(installation, incident_id, by)
    calls, ended, late = installation.ledger.call_outs, 0, 0
    for call_out, every in unacknowledged_call_outs(installation, triggers, row.id):
        covered = {
            incident
            for incident in set(map(incident_of, every))
            if _may_cover(installation, incident, by)
        }
        covers = [name for name in every if incident_of(name) in covered]
        if calls.end(
            call_out,
            CallOutState.ACKNOWLEDGED,
            covers,
            by,
            installation.clock(),
            named=row.id,
        ):
            ended, late = ended + 1, late + (call_out.state is CallOutState.UNANSWERED)
    earlier = next(iter(calls.of_incident(row.id)), None)
    return Acknowledgement(
        incident=row.id, ended=ended, late=late, earlier=None if ended else earlier
    )


def unacknowledged_call_outs(
    installation: Installation, triggers: Mapping[str, Trigger], incident_id: str
) -> list[tuple[CallOut, tuple[str, ...]]]:
    """Return the call-outs that an acknowledgement of an incident would end.

    They are open, or ended without an answer. Each call-out is returned with the names of the
    incidents, alerts or steps that the acknowledgement would cover.
    """
    calls = installation.ledger.call_outs
    late = [(call_out, call_out.covers) for call_out in calls.unanswered(incident_id)]
    found = calls.list_open()
    if not found:
        return late
    by_subject = {matter.subject: matter for matter in matters(installation, triggers)}
    about = []
    for call_out in found:
        matter = by_subject.get(call_out.subject)
        covers = dict.fromkeys([*call_out.covers, *(matter.covers if matter else ())])
        if call_out.is_about(incident_id) or incident_id in map(incident_of, covers):
            about.append((call_out, tuple(covers)))
    return about + late


def next_page(installation: Installation, call_out: CallOut, matter: Matter) -> NextPage | None:
    """Return the next page; None after the last page of the last round."""
    pages, rota = call_out.pages, installation.config.on_call
    escalates_after = timedelta(minutes=rota.escalate_after_minutes)
    current = pages[-1].round if pages else 0
    sent = {(page.person, page.sender) for page in pages if page.round == current}
    order = [
        (person, sender, timedelta(minutes=minutes) if number else escalates_after)
        for person in matter.people
        for number, (sender, minutes) in enumerate(_pagers(rota, person))
    ]
    for person, sender, pause in order:
        if (person.name, sender) not in sent:
            return NextPage(
                person=person, sender=sender, round=current, pause=_pause(call_out, pause)
            )
    reached = {page.round for page in pages if page.state not in _NOT_SENT}
    if not order or len(reached) >= rota.rounds or len(pages) >= _MOST_PAGES:
        return None
    person, sender, _ = order[0]
    return NextPage(person=person, sender=sender, round=current + 1, pause=escalates_after)


def _pagers(rota: OnCallConfig, person: Person) -> list[tuple[str, int]]:
    """Return the senders that page a person, and the pause before each."""
    settings = rota.people.get(person.name)
    if settings is None or not settings.pagers:
        return [(_DEFAULT_SENDER, 0)]
    return [(pager.sender, pager.after_minutes) for pager in settings.pagers]


def _pause(call_out: CallOut, pause: timedelta) -> timedelta:
    """Return the time between the last page and the next of the same round.

    `pause` is the time that the configuration sets.
    """
    if not call_out.pages or call_out.pages[-1].state in _NOT_SENT:
        return timedelta()
    is_open = call_out.pages[-1].state is EffectState.SUBMITTING
    return max(pause, _LONGEST_SENDING) if is_open else pause


def _continue(installation: Installation, call_out: CallOut, matter: Matter) -> Iterator[str]:
    """Send the pages that are due."""
    calls = installation.ledger.call_outs
    while True:
        page, now = next_page(installation, call_out, matter), installation.clock()
        last = call_out.pages[-1].at if call_out.pages else None
        pause = timedelta(minutes=installation.config.on_call.escalate_after_minutes)
        pause = page.pause if page else pause
        # `abs`: a page that a fast clock dated in the future must not delay the next page.
        if last is not None and abs(now - last) < pause:
            return
        if page is None:
            calls.end(call_out, CallOutState.UNANSWERED, matter.covers, installation.actor, now)
            yield f"call-out {matter.subject}: nobody acknowledged, and everybody was paged"
            return
        name, sender = page.person.name, page.sender
        if not calls.begin_page(call_out, name, sender, page.round, installation.actor, now):
            return
        number = len(call_out.pages) + 1
        state = _send(installation, matter, page, f"{call_out.id}.{number}")
        calls.finish_page(call_out.id, number, state, installation.actor, installation.clock())
        yield f"call-out {matter.subject}: page {number}: {state.value}"
        following = [found for found in calls.list_open() if found.id == call_out.id]
        if not following:
            return
        call_out = following[0]


def _send(installation: Installation, matter: Matter, page: NextPage, token: str) -> EffectState:
    incident = matter.incident_of(page.person)
    counts, _ = notify_each(
        installation,
        _TEMPLATE,
        {
            "incident_id": incident,
            "count": len(matter.covers),
            "has_more": len(matter.covers) > 1,
            "is_approval": matter.is_approval,
            "has_console": installation.config.serve.console is not None,
            "command": f"standfast incident acknowledge {incident} --as {page.person.name}",
        },
        [page.person],
        token,
        sender_name=page.sender or None,
    )
    return next(iter(counts))


def _is_new(installation: Installation, matter: Matter) -> bool:
    """Return whether a call-out must begin now."""
    newest = installation.ledger.call_outs.newest(matter.subject)
    if newest is None or not matter.people:
        return bool(matter.people)
    # A matter that had ended can begin again, for example when an incident is resumed. It then
    # needs a person again, even if the last call-out covers it.
    is_known = newest.state is not CallOutState.OVER and not uncovered(newest, matter.covers)
    if newest.state is CallOutState.OPEN or is_known:
        return False
    # `abs`: an end that a fast clock dated in the future must not delay a new call-out.
    return newest.ended_at is None or abs(installation.clock() - newest.ended_at) >= _APART


def _is_target(installation: Installation, incident_id: str, name: str) -> bool:
    """Return whether an account of the person is among the targets."""
    row, person = (
        installation.ledger.incidents.get(incident_id),
        installation.ledger.people.get(name),
    )
    own = account_spellings([*person.accounts, person.name, person.mail])
    return bool(accounts_named(load(row.playbook, row.scenario), row.inputs) & own)


def _may_cover(installation: Installation, incident_id: str, name: str) -> bool:
    """Return whether an acknowledgement of the person covers an incident."""
    row, person = (
        installation.ledger.incidents.get(incident_id),
        installation.ledger.people.get(name),
    )
    return is_visible(row, person) and not _is_target(installation, incident_id, name)


def _refuse_unfit(installation: Installation, incident_id: str, by: str) -> None:
    row = installation.ledger.incidents.get(incident_id)
    person = installation.ledger.people.get(by)
    if not is_visible(row, person):
        raise ApprovalRefused(
            f"call-out of {incident_id}: {by} is not among the people of this quiet incident. "
            "Another person must acknowledge it."
        )
    if why := installation.ledger.people.objection(by, (), installation.clock()):
        raise ApprovalRefused(why)
    if row.mode is not Mode.EXERCISE and _is_target(installation, incident_id, by):
        raise ApprovalRefused(
            f"call-out of {incident_id}: an account of {by} is among its targets. Another person "
            "must acknowledge it."
        )
