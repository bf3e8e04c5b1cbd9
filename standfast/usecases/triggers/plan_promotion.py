"""Promotion of a plan to a live incident, exactly as it was shown.

A plan is an incident that changes nothing; an alert, for example, can open one. Promotion opens a
live incident, which acts on real systems, with the inputs of the plan.

Rules
- A plan is identified by the digest of its inputs and of the current text of its playbook (the file
  that describes the response). If a trigger (such as a webhook) adds accounts, or if the playbook
  is edited, the digest changes, because nobody has read the changed plan.
- A changed plan is promoted only if the person states its current digest. This holds even after
  somebody closed the plan. An unchanged plan needs no digest.
- If a trigger adds accounts to the plan during its promotion, the plan stays open and contains
  these accounts.
- A repeated promotion returns the incident of the first promotion.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from standfast.errors import Refused, UsageError
from standfast.ledger.incidents.incident_facts import Statement
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.records import Mode, digest
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import Opened, close, open_incident
from standfast.usecases.playbooks import library
from standfast.usecases.triggers.message_intake import inputs_as_message


@dataclass(frozen=True, kw_only=True)
class PlanShown:
    """The data of a plan that a promotion opens live."""

    incident: str
    digest: str
    joined: int  # the number of later messages that added accounts
    given: Mapping[str, int]  # by input: the number of items in a list, or 1
    scenario: str
    playbook: str  # text of the playbook
    is_edited: bool  # True if the playbook's file has changed since the plan was made


class PlanChanged(Refused):
    """The error that a plan differs, or may differ, from the plan shown."""


def read_plan(installation: Installation, plan_id: str) -> PlanShown:
    """Return the data of a plan; raise UsageError for another incident."""
    return _plan_summary(installation, _plan(installation, plan_id))


def carry_out(
    installation: Installation, plan_id: str, opened_by: str | None, *, as_shown: str = ""
) -> Opened:
    """Open a plan live, with its inputs and stated facts, and close the plan.

    `as_shown` is the digest that the person has read, or its first characters. Raise PlanChanged if
    the digest differs. Raise PlanChanged also without a digest, if accounts were added to the plan
    or its playbook was edited. Raise UsageError for an incident that is not a plan.
    """
    plan = _plan(installation, plan_id)
    # Use the digest with the original playbook, so that a repeated promotion finds its incident.
    planned = _digest(plan, plan.playbook)
    handle = installation.ledger.cipher.handle(INSTALLATION, f"carry-out {plan_id} {planned}")
    message = TriggerMessage(source="carry-out", handle=handle)
    if earlier := installation.ledger.triggers.incident_of(message):
        opened = Opened(incident=earlier, has_joined=True)
    else:
        now = _plan_summary(installation, plan)
        _refuse_unseen(plan, now, as_shown)
        opened = open_incident(
            installation,
            plan.scenario,
            inputs_as_message(plan),
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
                f"{plan.id}: the plan has changed since it was shown. Nothing was done."
            )
        return
    if plan.joined:
        raise PlanChanged(f"{plan.id}: accounts were added since it was opened. Nothing was done.")
    if now.is_edited:
        raise PlanChanged(
            f"{plan.id}: its playbook was edited since it was opened. Nothing was done."
        )


def _close(installation: Installation, plan: IncidentRow) -> None:
    try:
        close(installation, plan.id, joined=plan.joined)
    except UsageError:
        # If a concurrent promotion closed the plan first, nothing is left to do.
        if _plan(installation, plan.id).is_open:
            raise


def _plan(installation: Installation, plan_id: str) -> IncidentRow:
    plan = installation.ledger.incidents.get(plan_id)
    if plan.mode is not Mode.PLAN:
        mode = "an exercise" if plan.mode is Mode.EXERCISE else "live"
        raise UsageError(f"{plan_id}: it is {mode}. Only a plan can be promoted.")
    return plan


def _plan_summary(installation: Installation, plan: IncidentRow) -> PlanShown:
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
    """Copy the facts of the plan to the live incident.

    Legal deadlines start with facts, such as the time of awareness. If somebody has stated a fact
    about the live incident already, it is not replaced.
    """
    stated, facts = installation.ledger.facts.of_incident(plan_id), installation.ledger.facts
    known = {(fact.kind, fact.name) for fact in facts.of_incident(incident_id)}
    for kind, name in dict.fromkeys((fact.kind, fact.name) for fact in stated):
        fact = stated.latest(kind, name)
        if fact is None or (kind, name) in known:
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
