"""Breaking the glass: one person alone lets a step contain, where nobody else can be reached.

Owns what the glass may be broken for, and that it is loud. Leaves who may, and when the step opens,
to `ledger.approvals`.

Rules
- Only what keeps somebody out or keeps something safe, and can be taken back: a notice that was
  sent, or an account that was given back, is not undone by a later no.
- Everybody who may know of the incident is told before it counts, the targets included: who dies
  in between has raised a false alarm, and broken nothing. That no message arrived is no reason
  to wait, and is said. Where nobody is told who counts apart from the breaker, nobody could refuse
  it, and the glass stays whole.
- Nobody is told in an exercise.
- Somebody else signs for it afterwards, or against it; the incident is not closed before.
"""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass

from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger.approvals.decisions import BREAK_GLASS
from standfast.ledger.approvals.two_person_rule import GLASS, Question
from standfast.local_time import minute
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Carrier
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import EffectState, Json, Mode
from standfast.usecases.approvals.step_decisions import signed_decision
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded
from standfast.usecases.core.staff_messages import notify_each
from standfast.usecases.incidents.approval_escalation import remaining_approvers
from standfast.usecases.incidents.step_expansion import is_irreversible

_TEMPLATE = "glass-broken"
_RUN = "page"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What came of it."""

    asked: Question
    told: str  # for whoever did it: when it begins, and who knows


def break_glass(
    installation: Installation,
    incident_id: str,
    step: str | None,
    person: str,
    passphrase: str,
    *,
    because: str,
    as_shown: str = "",
) -> Broken:
    """Let a step begin ten minutes from now, unless somebody refuses it; tell everybody first.

    ApprovalRefused where the step is not one that may, somebody was first, or the person may not;
    UsageError without a reason.
    """
    if not because.strip():
        raise UsageError("say why nobody is waited for: --break-glass WHY; everybody reads it")
    word = signed_decision(
        installation, incident_id, step, person, passphrase, decision=BREAK_GLASS, as_shown=as_shown
    )
    asked, state = word.asked, installation.ledger.incidents.state(incident_id)
    _refuse_unfit(installation, state, asked, person)
    told = "" if state.mode is Mode.EXERCISE else _tell(installation, state, asked, person, because)
    after = installation.ledger.decisions.decide(
        incident_id,
        asked.step,
        person,
        BREAK_GLASS,
        word.signature,
        installation.clock(),
        because=because,
    )
    if after.opens_at is None:
        return Broken(asked=after, told="That was the last approval that it needed.")
    at = minute(after.opens_at, installation.config.organisation.time_zone)
    return Broken(asked=after, told=f"{told}It begins at {at}, unless somebody refuses it.")


def _refuse_unfit(installation: Installation, state: State, asked: Question, person: str) -> None:
    if not installation.config.approvals.break_glass:
        raise ApprovalRefused(
            "nobody breaks the glass here: `approvals.break_glass` is false in standfast.toml; "
            f"`standfast incident status {state.incident}` says who may approve"
        )
    if not _contains(installation, state, asked):
        raise ApprovalRefused(
            f"step {asked.step!r} of {state.incident} contains nothing that can be taken back, and "
            "waits for its approvals; the glass is broken for what keeps people out"
        )
    if asked.opens_at is not None:
        at = minute(asked.opens_at, installation.config.organisation.time_zone)
        raise ApprovalRefused(
            f"the glass of step {asked.step!r} is broken already: it begins at {at}"
        )
    if why := installation.ledger.decisions.objection(
        state.incident, person, (), installation.clock(), as_what=BREAK_GLASS
    ):
        raise ApprovalRefused(why)
    people = installation.ledger.people
    if people.counted_once([*remaining_approvers(installation, state), people.get(person)]) < 2:
        raise ApprovalRefused(
            f"step {asked.step!r} of {state.incident}: nobody is left who could refuse it, so one "
            f"person does not open it. Enrol somebody with the owner's key"
        )


def _contains(installation: Installation, state: State, asked: Question) -> bool:
    """Does the step keep somebody out or something safe, all of which can be taken back?"""
    step = next((one for one in state.playbook.steps if one.name == asked.step), None)
    if step is None or step.action is None or is_irreversible(step):
        return False  # what people asked for beside the playbook gives back, or tells somebody
    if ACTIONS[step.action].carrier is not Carrier.PROCEDURES:
        return True
    rows = installation.ledger.effects.of_round(
        asked.incident, asked.step, asked.round, step.action
    )
    with closing(
        installation.outside(installation.ledger.incidents.get(asked.incident))
    ) as outside:
        through = {row.connector for row in rows}
        return not any(outside.procedure(name).is_irreversible for name in through)


def _tell(
    installation: Installation, state: State, asked: Question, person: str, because: str
) -> str:
    """Tell everybody else; say for the person how many know."""
    people = [one for one in remaining_approvers(installation, state) if one.name != person]
    step = state.playbook.step(asked.step)
    at = minute(installation.clock() + GLASS, installation.config.organisation.time_zone)
    values: dict[str, Json] = {
        "incident_id": state.incident,
        "step": step.title,
        "person": person,
        "because": because,
        "begins_at": at,
        "command": f"standfast incident approve {state.incident} {asked.step} --refuse --as NAME",
    }
    counts: Counter[EffectState] = Counter()
    problem = "nobody else is enrolled who could object"
    with recorded(installation, _RUN, f"glass.{state.incident}.{asked.step}", "direct") as run:
        if people:
            counts, problem = notify_each(installation, _TEMPLATE, values, people, run.token)
        summary: dict[str, Json] = {"people": len(people)}
        summary |= {outcome.value: count for outcome, count in sorted(counts.items())}
        run.ends(
            "raised" if counts[EffectState.DONE] else "failed",
            summary | ({"problem": problem} if problem else {}),
        )
    reached = f"{counted(counts[EffectState.DONE], 'person was', 'people were')} told."
    return f"{reached} {f'Nobody else knows: {problem}. ' if not counts[EffectState.DONE] else ''}"
