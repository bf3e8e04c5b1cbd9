"""Plan of an incident, without changes: steps, duration, warnings, digest.

A playbook is the file that describes the response to one kind of incident; a step is one part of
it. An adapter connects Standfast to one external system, such as an account directory.

Rules
- A plan computes the targets of each step with the same code as a live run, but with adapters that
  refuse every change.
- If the condition of a step depends on an open question, the step is planned as if the answer were
  yes, and the plan states the condition. The plan therefore shows the most that may happen.
- Targets on which the step would be refused, such as protected accounts, are counted by reason.
- The digest of the playbook, the inputs and the planned steps identifies the plan. Equal inputs and
  an equal state of the systems result in an equal digest.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from standfast.adapters.factory import SECTIONS, Adapters
from standfast.errors import ExitStatus, StandfastError
from standfast.ledger.approvals.objections import Opener
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.ledger.people.enrolment import Person
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Carrier
from standfast.playbook.engine import is_wanted
from standfast.playbook.expressions import parse
from standfast.playbook.model import Step, StepKind
from standfast.playbook.parser.input_values import load_inputs
from standfast.playbook.planned_effects import Draft
from standfast.playbook.rendering.step_labels import condition, length
from standfast.playbook.run_state import State
from standfast.playbook.step_graph import in_order
from standfast.plurals import counted
from standfast.records import JsonObject, Mode, digest
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import blast_radius
from standfast.usecases.incidents.blast_radius import (
    LockedAccounts,
    by_directory,
    locked_today,
    with_planned,
)
from standfast.usecases.incidents.result_summary import MORE_PEOPLE
from standfast.usecases.incidents.step_expansion import StepPlanner, expand, is_irreversible
from standfast.usecases.notices.delivery_plan import NoticePlan, Tally
from standfast.usecases.playbooks import library


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step of a plan."""

    name: str
    title: str
    kind: StepKind
    needs: tuple[str, ...]
    condition: str  # condition of the step; "" if it always runs
    is_left_out: bool  # the inputs exclude the step
    targets: int
    refused: Mapping[str, int]  # number of targets by reason
    by_adapter: Mapping[str, int]
    notes: tuple[str, ...]  # abilities and limits of the adapters, and other remarks
    approvals: int
    roles: tuple[str, ...]
    is_irreversible: bool
    undo: str
    seconds: int  # the shortest duration that the providers' limits allow
    own: tuple[str, ...]  # people registered as approvers whose own accounts the step would lock
    impossible: str  # why the step cannot run now, or ""

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "step": self.name,
            "title": self.title,
            "kind": self.kind.value,
            "needs": list(self.needs),
            "when": self.condition,
            "is_left_out": self.is_left_out,
            "targets": self.targets,
            "refused": dict(self.refused),
            "by_adapter": dict(self.by_adapter),
            "notes": list(self.notes),
            "approvals": self.approvals,
            "roles": list(self.roles),
            "irreversible": self.is_irreversible,
            "undo": self.undo,
            "seconds": self.seconds,
            "own": list(self.own),
            "impossible": self.impossible,
        }


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """The plan of an incident."""

    scenario: str
    title: str
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...]
    digest: str

    @property
    def exit_status(self) -> ExitStatus:
        """REFUSED if a step is impossible, PARTIAL if targets are refused."""
        if any(step.impossible for step in self.steps):
            return ExitStatus.REFUSED
        if any(step.refused for step in self.steps):
            return ExitStatus.PARTIAL
        return ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "steps": [step.as_json() for step in self.steps],
            "warnings": list(self.warnings),
            "digest": self.digest,
        }


def plan_incident(
    installation: Installation,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    is_signed: bool = False,
    opened_by: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PlanReport:
    """Plan a playbook; record the digest of the plan in the audit log.

    `opened_by` is the sign-in name of the person who wants to open the incident; the plan warns if
    it would lock an account of that person. `progress` is called with the number of planned steps
    and of all steps.
    """
    playbook = library.find(installation.config, scenario)
    typed = load_inputs(playbook, inputs)
    state = State(playbook=playbook, mode=Mode.PLAN, inputs=typed, incident="plan")
    people = installation.ledger.people.all()
    today = locked_today(installation.ledger, Mode.LIVE, installation.clock(), installation.config)
    locked = by_directory(today, installation.ledger, installation.config)
    ordered, planned = in_order(playbook), []
    with closing(installation.reading_adapters()) as adapters:
        for number, step in enumerate(ordered):
            if progress:
                progress(number, len(ordered))
            step_plan, drafts = _planned(
                step, state, adapters, is_signed=is_signed, locked=locked, people=people
            )
            planned.append(step_plan)
            if not step_plan.approvals:  # a live run counts the locks of earlier steps too
                locked = with_planned(locked, drafts, installation.config)
    steps = tuple(planned)
    body: JsonObject = {
        "playbook": playbook.digest,
        "inputs": digest(typed),
        "steps": [step.as_json() for step in steps],
    }
    report = PlanReport(
        scenario=scenario,
        title=playbook.title,
        steps=steps,
        warnings=(
            *_warnings(installation, steps, opened_by=opened_by if is_signed else None),
            *(
                line
                for step_plan in steps
                for line in blast_radius.warnings(step_plan.own, step_plan.name, opened_by)
            ),
        ),
        digest=digest(body),
    )
    installation.record_event(
        scenario, "incident.planned", {"scenario": scenario, "digest": report.digest}
    )
    return report


def _planned(
    step: Step,
    state: State,
    adapters: Adapters,
    *,
    is_signed: bool,
    locked: LockedAccounts,
    people: Sequence[Person],
) -> tuple[PlannedStep, tuple[Draft, ...]]:
    """Return a step of the plan, and its effects except messages.

    An effect is one act on one target, such as the lock of one account. Messages are only counted,
    because a notice may have a million of them.
    """
    drafts: tuple[Draft, ...] = ()
    tally = Tally()
    approvals, roles, impossible, reason = 0, step.roles, "", ""
    is_left_out = _is_left_out(step, state)
    if is_left_out:
        reason = f"left out by the inputs: only if {condition(step.when or '')}"
    elif step.kind is StepKind.DO:
        try:
            expansion = expand(
                step,
                state,
                adapters,
                is_signed=is_signed,
                token_of=lambda target: target,
                locked_today=locked,
            )
        except StandfastError as error:
            impossible = str(error)
        else:
            drafts, approvals = expansion.drafts, expansion.needs_approvals
            notice = expansion.streamed_notice
            tally = notice.counted() if isinstance(notice, NoticePlan) else Tally(drafts)
            roles = expansion.roles
            reason = expansion.reason
    by_adapter = tally.by_adapter
    notes: tuple[str, ...] = ()
    seconds = 0
    try:
        notes = (*_notes(StepPlanner(step=step, state=state, adapters=adapters), by_adapter),)
        seconds = _seconds(step, by_adapter, adapters)
    except StandfastError as error:
        impossible = str(error)  # such as an adapter whose secret is missing
    if tally.refused and not by_adapter and not impossible:
        impossible = "every target would be refused"
    planned = PlannedStep(
        name=step.name,
        title=step.title,
        kind=step.kind,
        needs=step.needs,
        condition=step.when or "",
        is_left_out=is_left_out,
        targets=tally.acts,
        refused=dict(tally.refused),
        by_adapter=dict(by_adapter),
        notes=(*notes, *tally.audience_summary(), *([reason] if reason else [])),
        approvals=approvals,
        roles=roles,
        is_irreversible=is_irreversible(step),
        undo=step.undo or "",
        seconds=seconds,
        own=tuple(blast_radius.owners_of(drafts, people, adapters.config)),
        impossible=impossible,
    )
    return planned, drafts


def _is_left_out(step: Step, state: State) -> bool:
    """Return whether the inputs exclude the step, whatever people answer."""
    if step.when is None or any(name[0] != "inputs" for name in parse(step.when).names()):
        return False
    return not is_wanted(step, state)


def _notes(planner: StepPlanner, by_adapter: Mapping[str, int]) -> list[str]:
    """Return the abilities and limits of each adapter, for the plan."""
    adapters = planner.adapters
    notes: list[str] = []
    for name in by_adapter:
        action = ACTIONS[planner.step.action or ""]
        if action.carrier is Carrier.ACCOUNTS and adapters.connector(name).is_contract_tested:
            notes.append(f"{name}: contract-tested, not tried on the provider itself")
        if name.partition(".")[0] in SECTIONS:
            notes += adapters.procedure(name).notes()
        notes += action.notes(name, planner)
    return notes


def _seconds(step: Step, by_adapter: Mapping[str, int], adapters: Adapters) -> int:
    """Return the shortest duration of a step, in seconds.

    It is the time of a wait, or the time that the rate limits of the providers require.
    """
    if step.kind is StepKind.WAIT:
        return step.wait_seconds
    slowest = 0.0
    for name, count in by_adapter.items():
        verb = step.action or ""
        if ACTIONS[verb].carrier is not Carrier.EVIDENCE:
            limits = adapters.limits(EffectQueue(verb=verb, connector=name))
            if limits.per_second:
                slowest = max(slowest, (count - limits.burst) / limits.per_second)
    return max(0, round(slowest))


def _warnings(
    installation: Installation, steps: tuple[PlannedStep, ...], *, opened_by: str | None
) -> list[str]:
    warnings: list[str] = []
    asking = [step for step in steps if step.approvals]
    opener = Opener(name=opened_by or installation.actor, is_signed=opened_by is not None)
    own = {name for step in steps for name in step.own}  # `blast_radius.warnings` names them
    if asking and not opener.is_signed:
        warnings.append(
            "nobody signed in, so steps with approvals need one more approval; add --as NAME"
        )
    for step in asking:
        able = installation.ledger.people.other_approvers(opener, step.roles, installation.clock())
        able_count = installation.ledger.people.counted_once(
            person for person in able if person.name not in own
        )
        if able_count < step.approvals:
            who = f" with the role {' or '.join(step.roles)}" if step.roles else ""
            warnings.append(
                f"step {step.name} needs {counted(step.approvals, 'approval')}, but "
                f"{counted(able_count, 'person', 'people')}{who} can approve it now; {MORE_PEOPLE}"
            )
    return warnings


def as_lines(report: PlanReport) -> list[str]:
    """Return the plan as text, one paragraph for each step."""
    lines = [f"Plan: {report.title} ({report.scenario})", ""]
    for number, step in enumerate(report.steps, 1):
        lines.append(f"{number:>2}. {step.title}  [{step.name}]")
        lines += [f"      {line}" for line in _step_lines(step)]
    if report.warnings:
        lines += ["", *(f"Warning: {warning}" for warning in report.warnings)]
    return [*lines, "", f"Digest {report.digest[:16]}. Nothing was changed."]


def _step_lines(step: PlannedStep) -> list[str]:
    lines: list[str] = []
    if step.impossible:
        lines.append(f"NOT POSSIBLE: {step.impossible}")
    if step.kind is StepKind.DO and step.targets:
        where = ", ".join(
            f"{name}: {counted(count, 'target')}" for name, count in step.by_adapter.items()
        )
        lines.append(where)
    lines += [f"refused: {count:,}, {reason}" for reason, count in step.refused.items()]
    lines += step.notes
    if step.condition and not step.is_left_out:
        lines.append(f"only if {condition(step.condition)}")
    if step.kind in (StepKind.MANUAL, StepKind.DECIDE):
        who = f" ({' or '.join(step.roles)})" if step.roles else ""
        lines.append(f"waits for a person{who}")
    if step.approvals:
        who = f" of {' or '.join(step.roles)}" if step.roles else ""
        lines.append(f"waits for {counted(step.approvals, 'approval')}{who}")
    if step.is_irreversible:
        lines.append("cannot be undone")
    elif step.undo:
        lines.append(f"can be undone by {step.undo}")
    if step.seconds:
        lines.append(f"takes at least {length(step.seconds)}")
    return lines
