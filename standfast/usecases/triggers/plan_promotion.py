"""Opening live what was only planned: exactly what was shown, and nothing that joined it since.

Rules
- A plan is named by the digest of the playbook, as it would be carried out now, and of what it was
  given. When a trigger joins and brings accounts, or the playbook's file is edited, it is another
  plan: who read the one before has not seen that.
- Such a plan is carried out only with the digest that it has now, also when somebody closed it.
  Any other is what it was when it was opened, and needs none.
- What joins while a plan is being carried out is not lost: the plan then stays open with it.
- Doing it again gives the incident that it gave before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from standfast.errors import Refused, UsageError
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.records import Mode, digest
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import Opened, close, open_incident
from standfast.usecases.playbooks import library
from standfast.usecases.triggers.message_intake import reread_inputs


@dataclass(frozen=True, kw_only=True)
class PlanShown:
    """What a plan would be carried out with."""

    incident: str
    digest: str
    joined: int  # how many further messages brought it accounts
    given: Mapping[str, int]  # by input: how many accounts, or 1
    scenario: str
    playbook: str  # its text
    is_edited: bool  # the playbook's file is not as it was when the plan was made


class PlanChanged(Refused):
    """A plan is not, or perhaps not, what whoever carries it out was shown."""


def shown(installation: Installation, plan_id: str) -> PlanShown:
    """Say what a plan would be carried out with; UsageError for what is no plan."""
    return _shown(installation, _plan(installation, plan_id))


def carry_out(
    installation: Installation, plan_id: str, opened_by: str | None, *, as_shown: str = ""
) -> Opened:
    """Open live what was only planned, with the same inputs and facts; close the plan.

    `as_shown` is the digest that whoever carries it out has read, or how it begins. Raises
    PlanChanged where it is another one, or was not given for a plan that was joined or edited;
    UsageError for what is no plan.
    """
    plan = _plan(installation, plan_id)
    planned = _digest(plan, plan.playbook)  # by what was planned: typed again, it opens no other
    handle = installation.ledger.cipher.handle(INSTALLATION, f"carry-out {plan_id} {planned}")
    message = TriggerMessage(source="carry-out", handle=handle)
    if earlier := installation.ledger.triggers.incident_of(message):
        opened = Opened(incident=earlier, has_joined=True)
    else:
        now = _shown(installation, plan)
        _refuse_unseen(plan, now, as_shown)
        opened = open_incident(
            installation,
            plan.scenario,
            reread_inputs(plan),
            mode=Mode.LIVE,
            opened_by=opened_by,
            message=message,
            as_read=now.playbook,
        )
    _take_facts(installation, plan_id, opened.incident)
    if plan.is_open:
        _close(installation, plan)
    return opened


def _refuse_unseen(plan: IncidentRow, now: PlanShown, as_shown: str) -> None:
    if as_shown:
        if not now.digest.startswith(as_shown.lower()):
            raise PlanChanged(
                f"{plan.id} is not the plan that was shown any more; nothing was done"
            )
        return
    if plan.joined:
        raise PlanChanged(f"{plan.id} was added to since it was opened; nothing was done")
    if now.is_edited:
        raise PlanChanged(
            f"the playbook of {plan.id} was edited since it was opened; nothing was done"
        )


def _close(installation: Installation, plan: IncidentRow) -> None:
    try:
        close(installation, plan.id, joined=plan.joined)
    except UsageError:
        # Whoever carries it out at the same time has closed it first: it is as it should be.
        if _plan(installation, plan.id).is_open:
            raise


def _plan(installation: Installation, plan_id: str) -> IncidentRow:
    plan = installation.ledger.incidents.get(plan_id)
    if plan.mode is not Mode.PLAN:
        what = "an exercise" if plan.mode is Mode.EXERCISE else "live"
        raise UsageError(f"{plan_id} is {what}; only a plan is carried out")
    return plan


def _shown(installation: Installation, plan: IncidentRow) -> PlanShown:
    playbook = library.find(installation.config, plan.scenario).source
    return PlanShown(
        incident=plan.id,
        digest=_digest(plan, playbook),
        joined=plan.joined,
        given={
            name: len(value) if isinstance(value, list) else 1
            for name, value in plan.inputs.items()
            if value is not None
        },
        scenario=plan.scenario,
        playbook=playbook,
        is_edited=playbook != plan.playbook,
    )


def _digest(plan: IncidentRow, playbook: str) -> str:
    return digest({"playbook": playbook, "inputs": dict(plan.inputs)})


def _take_facts(installation: Installation, plan_id: str, incident_id: str) -> None:
    """State anew what was stated of the plan: legal clocks began then, and would begin no more.

    What was stated of the incident itself meanwhile is left as it is.
    """
    from standfast.ledger.incidents.incident_facts import Statement

    stated, facts = installation.ledger.facts.of(plan_id), installation.ledger.facts
    there = {(fact.kind, fact.name) for fact in facts.of(incident_id)}
    for kind, name in dict.fromkeys((fact.kind, fact.name) for fact in stated):
        fact = stated.latest(kind, name)
        if fact is None or (kind, name) in there:
            continue
        statement = Statement(
            kind=kind,
            name=name,
            at=fact.at,
            count=fact.count,
            is_so=fact.is_so,
            reference=fact.reference,
        )
        facts.state(incident_id, statement, fact.author, installation.clock())
