"""Reaching the people who may approve: one message each, rendered when the step asks."""

from contextlib import suppress

from standfast.errors import ConfigurationError, Refused, UsageError
from standfast.ledger.effects import PAGE, Draft
from standfast.ledger.people import Person
from standfast.notices.prepared import pick_language
from standfast.notices.render import prepare
from standfast.operations.actions import MAIL, is_irreversible
from standfast.operations.place import Place
from standfast.outside import Outside
from standfast.playbook.engine import State
from standfast.records import Mode

_TEMPLATE = "approval-request"


def pages(place: Place, state: State, outside: Outside, step_name: str) -> list[Draft]:
    """Give one page for each person who may approve the step; none when nobody can be reached.

    Nobody is left without a word: `incident status` shows the step as waiting either way.
    """
    try:
        question = place.ledger.steps.question(state.incident, step_name)
    except UsageError:
        return []  # somebody decided since the state was read: nobody needs to be woken
    opened_by = place.ledger.incidents.get(state.incident).opened_by
    people = [one for one in place.ledger.people.all(question.roles) if one.name != opened_by]
    found: list[Draft] = []
    for one in people:
        # One approver who cannot be written to keeps nobody else from being woken. That the ledger
        # is away is another matter: then nobody was asked, and the next look asks.
        with suppress(ConfigurationError, Refused):
            sender = outside.default_sender()
            found.append(_page(place, state, outside, step_name, question.digest, one, sender))
    return found


def _page(
    place: Place,
    state: State,
    outside: Outside,
    step_name: str,
    digest: str,
    person: Person,
    sender: str,
) -> Draft:
    names = {step.name: step for step in state.playbook.steps}
    step = names.get(step_name)
    view = state.steps.get(step_name) or next(v for v in state.extra if v.step == step_name)
    organisation = place.config.organisation
    prepared = prepare(
        outside.templates[_TEMPLATE],
        {
            "organisation": organisation.name,
            "contact_line": organisation.contact_line,
            "incident_id": state.incident,
            "step": step.title if step else step_name,
            "requested_by": place.ledger.incidents.get(state.incident).opened_by,
            "what_is_asked": step.title if step else "Give accounts back what they had before",
            "people_count": view.counts.total,
            "digest": digest,
            "command": f"standfast incident approve {state.incident} {step_name}",
            "is_irreversible": bool(step and is_irreversible(step)),
        },
        banner=outside.mode is Mode.EXERCISE,
    )
    language = pick_language("", prepared.languages, organisation.languages[0]).language
    filled = prepared.fill(language, {"name": person.full_name}, "", address=person.mail)
    return Draft(
        verb=PAGE,
        connector=sender,
        target=MAIL + person.mail,
        details={
            "subject": filled.subject,
            "text": filled.text,
            "html": filled.html,
            "language": language,
        },
    )
