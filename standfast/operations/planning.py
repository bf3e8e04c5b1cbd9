"""The plan of an incident: who and what it would touch, read now, nothing acted on.

Rules
- The same expansion as the live run, through adapters that refuse every act.
- Steps whose condition depends on an answer that nobody gave yet are planned as if it were yes, and
  say so: the operator sees the most that may happen.
- What would be refused is listed with its reason before anyone presses Enter.
- The digest names this plan; the same inputs and the same outside give the same one.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from standfast.errors import ExitStatus, StandfastError
from standfast.ledger.effects import Draft
from standfast.operations import playbooks
from standfast.operations.actions import acts, expand, is_irreversible, locked_today
from standfast.operations.counted import counted
from standfast.operations.place import Place
from standfast.outside import Outside
from standfast.playbook.engine import State
from standfast.playbook.graph import in_order
from standfast.playbook.inputs import load_inputs
from standfast.playbook.model import Playbook, Step, StepKind
from standfast.records import EffectState, JsonObject, Mode, digest


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step as it would go."""

    name: str
    title: str
    kind: StepKind
    needs: tuple[str, ...]
    condition: str  # empty: always
    targets: int
    refused: Mapping[
        str, int
    ]  # reason → how many; named with `--targets` once the incident is open
    by_adapter: Mapping[str, int]
    notes: tuple[str, ...]  # what the adapters can prove and cannot do
    approvals: int
    roles: tuple[str, ...]
    is_irreversible: bool
    undo: str
    seconds: int  # the least that the providers' limits allow
    impossible: str  # why the step cannot be carried out as things are; empty when it can

    def as_json(self) -> JsonObject:
        """Give the step for `--json`."""
        return {
            "step": self.name,
            "title": self.title,
            "kind": self.kind.value,
            "needs": list(self.needs),
            "when": self.condition,
            "targets": self.targets,
            "refused": dict(self.refused),
            "by_adapter": dict(self.by_adapter),
            "notes": list(self.notes),
            "approvals": self.approvals,
            "roles": list(self.roles),
            "irreversible": self.is_irreversible,
            "undo": self.undo,
            "seconds": self.seconds,
            "impossible": self.impossible,
        }


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """A whole plan."""

    scenario: str
    title: str
    steps: tuple[PlannedStep, ...]
    warnings: tuple[str, ...]
    digest: str

    @property
    def exit_status(self) -> ExitStatus:
        """REFUSED when a step cannot be carried out at all, PARTIAL when targets are refused."""
        if any(step.impossible for step in self.steps):
            return ExitStatus.REFUSED
        if any(step.refused for step in self.steps):
            return ExitStatus.PARTIAL
        return ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Give the plan for `--json`."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "steps": [step.as_json() for step in self.steps],
            "warnings": list(self.warnings),
            "digest": self.digest,
        }


def plan_incident(
    place: Place,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    is_signed: bool = False,
) -> PlanReport:
    """Plan a scenario; the look is noted in the timeline, by its digest."""
    playbook = playbooks.find(place.config, scenario)
    typed = load_inputs(playbook, inputs)
    outside = place.reader()
    state = State(playbook=playbook, mode=Mode.PLAN, inputs=typed, incident="plan")
    locked = locked_today(place.ledger, Mode.LIVE, place.clock())
    steps = tuple(
        _planned(playbook, step, state, outside, is_signed=is_signed, locked=locked)
        for step in in_order(playbook)
    )
    body: JsonObject = {
        "playbook": playbook.digest,
        "inputs": digest(typed),
        "steps": [step.as_json() for step in steps],
    }
    report = PlanReport(
        scenario=scenario,
        title=playbook.title,
        steps=steps,
        warnings=tuple(_warnings(place, steps, is_signed=is_signed)),
        digest=digest(body),
    )
    with place.ledger.core.write(
        actor=place.actor,
        subject=scenario,
        action="incident.planned",
        now=place.clock(),
        detail={"scenario": scenario, "digest": report.digest},
    ):
        pass
    return report


def _planned(
    playbook: Playbook,
    step: Step,
    state: State,
    outside: Outside,
    *,
    is_signed: bool,
    locked: int,
) -> PlannedStep:
    drafts: tuple[Draft, ...] = ()
    approvals, roles, impossible = 0, step.roles, ""
    if step.kind is StepKind.DO:
        try:
            expansion = expand(
                step,
                state,
                outside,
                is_signed=is_signed,
                token_of=lambda target: target,
                locked_today=locked,
            )
        except StandfastError as error:
            impossible = str(error)
        else:
            drafts, approvals = expansion.drafts, expansion.needs_approvals
            roles = expansion.roles
    refused = Counter(draft.reason for draft in drafts if draft.state is EffectState.REFUSED)
    by_adapter = Counter(draft.connector for draft in drafts if draft.state is EffectState.PLANNED)
    notes: tuple[str, ...] = ()
    seconds = 0
    try:
        notes, seconds = (
            tuple(_notes(step, by_adapter, outside)),
            _seconds(step, by_adapter, outside),
        )
    except StandfastError as error:
        impossible = str(error)  # for one directory at least: its secret is missing, or the like
    if drafts and not by_adapter and not impossible:
        impossible = "every target would be refused"
    return PlannedStep(
        name=step.name,
        title=step.title,
        kind=step.kind,
        needs=step.needs,
        condition=step.when or "",
        targets=acts(drafts),
        refused=dict(refused),
        by_adapter=dict(by_adapter),
        notes=notes,
        approvals=approvals,
        roles=roles,
        is_irreversible=is_irreversible(step),
        undo=step.undo or "",
        seconds=seconds,
        impossible=impossible,
    )


def _notes(step: Step, by_adapter: Mapping[str, int], outside: Outside) -> list[str]:
    """What each directory can prove, and what locking in it costs for good."""
    if not (step.action or "").startswith("accounts."):
        return []
    notes: list[str] = []
    for name in by_adapter:
        connector = outside.connector(name)
        if step.action == "accounts.prove_locked":
            notes.append(f"{name}: proof reaches {connector.proof.value}")
        if step.action == "accounts.lock":
            if "revoke" not in connector.verbs:
                notes.append(f"{name}: sessions that are open there cannot be ended")
            notes += [f"{name}: {what}" for what in connector.irreversible]
    return notes


def _seconds(step: Step, by_adapter: Mapping[str, int], outside: Outside) -> int:
    """The least time that the providers' limits allow; nothing where there is no limit."""
    if step.kind is StepKind.WAIT:
        return step.wait_seconds
    slowest = 0.0
    for name, count in by_adapter.items():
        verb = step.action or ""
        limits = (
            outside.connector(name).limits
            if verb.startswith("accounts.")
            else outside.sender(name).limits
            if verb.startswith("notices.")
            else None
        )
        if limits and limits.per_second:
            slowest = max(slowest, (count - limits.burst) / limits.per_second)
    return max(0, round(slowest))


def _warnings(place: Place, steps: tuple[PlannedStep, ...], *, is_signed: bool) -> list[str]:
    warnings: list[str] = []
    asking = [step for step in steps if step.approvals]
    if asking and not is_signed:
        warnings.append(
            "nobody signed in to open it, so each approval needs one more person; use --as NAME"
        )
    for step in asking:
        there = len(place.ledger.people.all(step.roles))
        if there < step.approvals:
            who = f" with the role {' or '.join(step.roles)}" if step.roles else ""
            warnings.append(
                f"step {step.name} needs {counted(step.approvals, 'approval')}, and "
                f"{counted(there, 'person', 'people')}{who} can give one; "
                "`standfast people add` enrols more"
            )
    return warnings


def as_lines(report: PlanReport) -> list[str]:
    """Write the plan out for a person, one step a paragraph."""
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
        lines.append(f"CANNOT BE CARRIED OUT: {step.impossible}")
    if step.kind is StepKind.DO and step.targets:
        where = ", ".join(f"{count} through {name}" for name, count in step.by_adapter.items())
        lines.append(where)
    lines += [f"refused: {count}, {reason}" for reason, count in step.refused.items()]
    lines += step.notes
    if step.condition:
        lines.append(f"only if {step.condition}")
    if step.kind in (StepKind.MANUAL, StepKind.DECIDE):
        who = f" ({' or '.join(step.roles)})" if step.roles else ""
        lines.append(f"waits for a person{who}")
    if step.approvals:
        who = f" of {' or '.join(step.roles)}" if step.roles else ""
        lines.append(f"waits for {counted(step.approvals, 'approval')}{who}")
    if step.is_irreversible:
        lines.append("cannot be taken back")
    elif step.undo:
        lines.append(f"can be undone ({step.undo})")
    if step.seconds:
        lines.append(f"takes {step.seconds} s at least")
    return lines
