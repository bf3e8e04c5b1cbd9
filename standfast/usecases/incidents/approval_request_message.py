"""Message that asks one person for an approval, sent as an effect.

An effect is one act on one target outside Standfast. The ledger (the database of incidents) records
each effect before and after the act.
"""

from standfast.adapters.factory import Adapters
from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.people.enrolment import Person
from standfast.notices.prepared_notice import pick_language
from standfast.notices.template_renderer import prepare
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.planned_effects import Draft
from standfast.playbook.run_state import State
from standfast.playbook.status.person_tasks import SHOWN
from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.step_expansion import is_irreversible
from standfast.usecases.notices.recipient_targets import MAIL

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
