"""Requests for approvals: the mail to each person, level after level.

A page here is the mail that asks one person for an approval. It is an effect (one act on one target
outside Standfast), so the ledger (the database of incidents) records it before and after it is
sent.

Rules
- The approvers of the step are paged first. The playbook (the file that describes the response)
  sets a time for their answer. After this time without an answer, the people of the first
  escalation level are paged, then those of the second level, and so on. After the last level, all
  other enrolled people (registered in the ledger) are paged. Nobody is paged twice about the same
  planned targets.
- An escalation level is an entry of `approvals.ladder`: a role, or `person:NAME`. Its people may
  approve as soon as they are paged. The people who are paged after the last level may not approve;
  they are asked to reach an approver.
- A person whose approval would be invalid is not paged: the requester, a person whose own account
  is among the targets (an insider must not be warned), and a person who was enrolled today.
- A quiet playbook, whose incidents are hidden from other people, pages only the roles that its
  steps name, even if nobody answers.
- When everybody is paged, the step stays open, and `incident status` shows who was reached.
- A runner (a process that executes incidents) moves a step to its next level by a compare-and-swap
  in the ledger. Therefore only one of several runners pages the people of a level.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from standfast.adapters.factory import Adapters
from standfast.errors import ConfigurationError, Refused, UsageError
from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.people.enrolment import Person
from standfast.notices.prepared_notice import pick_language
from standfast.notices.template_renderer import prepare
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.engine import Ask, Escalate
from standfast.playbook.model import Approval
from standfast.playbook.planned_effects import Draft
from standfast.playbook.run_state import State, StepView
from standfast.playbook.status.person_tasks import SHOWN
from standfast.records import Mode
from standfast.usecases.core.incident_visibility import account_spellings, accounts_named
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.step_expansion import is_irreversible
from standfast.usecases.notices.delivery_plan import MAIL

_TEMPLATE = "approval-request"


def target_of(person: Person) -> str:
    """Return the effect's target for a page to this person."""
    return MAIL + person.mail


def page(
    installation: Installation,
    state: State,
    adapters: Adapters,
    asked: Question,
    person: Person,
    *,
    count: int,
    why: str = "",
) -> Draft:
    """Return the page that asks for the approval of a step on `count` targets.

    `why` is a sentence about the escalation level. The message contains it after the request.
    """
    step = next((step for step in state.playbook.steps if step.name == asked.step), None)
    request = step.title if step else "Restore the accounts to their prior state"
    organisation = installation.config.organisation
    prepared = prepare(
        adapters.templates[_TEMPLATE],
        {
            "organisation": organisation.name,
            "contact_line": organisation.contact_line,
            "incident_id": state.incident,
            "step": step.title if step else asked.step,
            "requested_by": installation.ledger.incidents.get(state.incident).opened_by,
            "what_is_asked": f"{request}. {why}" if why else request,
            "people_count": count,
            "digest": asked.digest,
            "command": f"standfast incident approve {state.incident} {asked.step} "
            f"--digest {asked.digest[:SHOWN]} --as {person.name}",
            "has_console": installation.config.serve.console is not None,
            "is_irreversible": bool(step and is_irreversible(step)),
        },
        banner=adapters.mode is Mode.EXERCISE,
    )
    language = pick_language("", prepared.languages, organisation.languages[0]).language
    filled = prepared.fill(language, {"name": person.full_name}, "", address=person.mail)
    return Draft(
        verb=PAGE,
        connector=adapters.default_sender(),
        target=target_of(person),
        details={
            "subject": filled.subject,
            "text": filled.text,
            "html": filled.html,
            "language": language,
        },
    )


# Approval rule of an undo (which restores targets to their state before a step). No playbook
# contains a rule for it.
_UNDO_APPROVAL = Approval(count=1)


@dataclass(frozen=True, kw_only=True)
class EscalationLevel:
    """The people of one escalation level, paged together."""

    people: tuple[Person, ...]
    may_also: tuple[str, ...] = ()  # roles that may approve once these people are paged
    why: str = ""  # a sentence about the level, which its pages contain after the request


def ask(installation: Installation, state: State, adapters: Adapters, move: Ask) -> None:
    """Page the approvers of a step; if none can be paged, escalate at once."""
    try:
        asked = installation.ledger.decisions.question(state.incident, move.step)
    except UsageError:
        return  # somebody decided after the state was read
    roles = asked.roles or _roles_of_quiet(state)
    first = _possible_approvers(
        installation, state, asked, installation.ledger.people.all(roles), roles
    )
    found = _pages(installation, state, adapters, asked, EscalationLevel(people=first))
    now = installation.clock()
    reached = {target_of(person) for person in first} | _paged(installation, asked)
    interval = _escalation_interval(state, move.step) if found else timedelta()
    is_last = next(_levels(installation, state, asked, reached), None) is None
    installation.ledger.steps.ask(
        state.incident,
        move.step,
        move.round,
        found,
        now,
        escalates_at=None if is_last else now + interval,
    )


def escalate(installation: Installation, state: State, adapters: Adapters, move: Escalate) -> None:
    """Page the next level that has a reachable person not paged yet."""
    try:
        asked = installation.ledger.decisions.question(state.incident, move.step)
    except UsageError:
        return
    level, pages = EscalationLevel(people=()), list[Draft]()
    reached = _paged(installation, asked)
    for level in _levels(installation, state, asked, reached):
        reached |= {target_of(person) for person in level.people}
        if pages := _pages(installation, state, adapters, asked, level):
            break  # otherwise nobody on this level can be reached: try the next level
    is_last = next(_levels(installation, state, asked, reached), None) is None
    now = installation.clock()
    installation.ledger.steps.escalate(
        state.incident,
        move.step,
        move.round,
        move.level,
        pages,
        now,
        may_also=level.may_also if pages else (),
        escalates_at=None if is_last else now + _escalation_interval(state, move.step),
    )


def people_to_notify(installation: Installation, state: State) -> tuple[Person, ...]:
    """Return the people to notify of a break-glass approval.

    A break-glass approval is the approval of containment, such as locks, by one person alone. For
    an ordinary incident, all enrolled people are notified, also the owners of its target accounts.
    For a quiet incident, only the people with a role that its steps name are notified, except the
    owners of its target accounts.
    """
    people = installation.ledger.people.all(_roles_of_quiet(state))
    if not state.playbook.is_quiet:
        return tuple(people)
    about = accounts_named(state.playbook, state.inputs)
    return tuple(person for person in people if not about & account_spellings(person.accounts))


def _levels(
    installation: Installation, state: State, asked: Question, reached: set[str]
) -> Iterator[EscalationLevel]:
    """Yield each level that has people outside `reached`, with these people."""
    if state.playbook.is_quiet:
        return
    for name in installation.config.approvals.ladder:
        people = _possible_approvers(
            installation, state, asked, installation.ledger.people.all([name]), [name]
        )
        if new := _new(people, reached):
            yield EscalationLevel(
                people=new, may_also=(name,), why="Nobody has answered yet, so you may decide now."
            )
    who = f" with the role {' or '.join(asked.roles)}" if asked.roles else ""
    others = _possible_approvers(installation, state, asked, installation.ledger.people.all(), ())
    if new := _new(others, reached):
        yield EscalationLevel(people=new, why=f"Nobody has answered. Please reach somebody{who}.")


def _new(people: Sequence[Person], reached: set[str]) -> tuple[Person, ...]:
    return tuple(person for person in people if target_of(person) not in reached)


def _possible_approvers(
    installation: Installation,
    state: State,
    asked: Question,
    people: Sequence[Person],
    roles: Sequence[str],
) -> tuple[Person, ...]:
    """Return the people that may approve, except owners of target accounts.

    These owners are excluded before the lock of their accounts is planned. For example, evidence is
    copied before the lock, and a request to approve the copy would warn them.
    """
    objection, now = installation.ledger.decisions.objection, installation.clock()
    about = accounts_named(state.playbook, state.inputs)
    fit = [person for person in people if not objection(asked.incident, person.name, roles, now)]
    not_targets = [person for person in fit if not about & account_spellings(person.accounts)]
    # An alert from outside can name accounts of all approvers. In that case, page the approvers
    # nevertheless, so that somebody is asked; but not about a quiet incident.
    return tuple(not_targets or ([] if state.playbook.is_quiet else fit))


def _paged(installation: Installation, asked: Question) -> set[str]:
    rows = installation.ledger.effects.pages(asked.incident, asked.step, asked.round)
    return {row.target for row in rows}


def _pages(
    installation: Installation,
    state: State,
    adapters: Adapters,
    asked: Question,
    level: EscalationLevel,
) -> list[Draft]:
    found: list[Draft] = []
    count = _view(state, asked.step).counts.total
    for person in level.people:
        # Skip an approver who cannot be reached. Do not suppress an error of the ledger: no page is
        # recorded then, and the next runner pages everybody.
        with suppress(ConfigurationError, Refused):
            found.append(
                page(installation, state, adapters, asked, person, count=count, why=level.why)
            )
    return found


def _roles_of_quiet(state: State) -> Sequence[str]:
    """Return the roles that approve the steps of a quiet playbook, else ()."""
    if not state.playbook.is_quiet:
        return ()
    named = [role for step in state.playbook.steps if step.approval for role in step.approval.roles]
    return list(dict.fromkeys(named))


def _escalation_interval(state: State, step_name: str) -> timedelta:
    step = next((step for step in state.playbook.steps if step.name == step_name), None)
    approval = (step.approval if step else None) or _UNDO_APPROVAL
    return timedelta(minutes=approval.escalate_after_minutes)


def _view(state: State, step_name: str) -> StepView:
    return state.steps.get(step_name) or next(v for v in state.extra if v.step == step_name)
