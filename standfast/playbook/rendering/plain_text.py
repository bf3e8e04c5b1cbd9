"""Playbook as plain text, to choose a playbook and to print it.

Rules
- Steps come in an order in which they can be done by hand, one after the other.
- Words show which steps cannot be undone, which need an approval, and which are done by hand.
- The text has 80 columns, no colour, and no character that a simple printer lacks.
"""

import json
import re
import textwrap
from collections.abc import Mapping

from standfast.playbook.actions import ACTIONS
from standfast.playbook.model import Input, OnPartial, Playbook, Step, StepKind
from standfast.playbook.rendering.step_labels import any_result_text, condition, length, paragraphs
from standfast.playbook.step_graph import in_order
from standfast.records import Json

_WIDTH = 80


def as_text(playbook: Playbook) -> str:
    """Write a playbook as text with a final newline.

    The same playbook always has the same text.
    """
    heading = f"{playbook.title} ({playbook.name}, version {playbook.version})"
    lines = [heading, "=" * min(len(heading), _WIDTH)]
    lines += _wrapped(f"Use it when: {playbook.use_when}", "")
    for name, when in playbook.instead.items():
        lines += _wrapped(f"Use {name} instead if: {when}", "")
    if playbook.is_quiet:
        lines += _wrapped("Quiet: only the roles that its steps name are notified and paged.", "")
    if playbook.roles:
        lines += ["", "Who is needed"]
        for role, does in playbook.roles.items():
            lines += _wrapped(f"{role}: {does}", "  ")
    lines += ["", "Inputs"]
    for given in playbook.inputs:
        lines += _wrapped(f"{given.name}: {_about(given)}", "  ")
    if not playbook.inputs:
        lines.append("  none")
    lines += ["", "Steps"]
    ordered = in_order(playbook)
    numbers = {step.name: number for number, step in enumerate(ordered, start=1)}
    for step in ordered:
        lines += _step(step, numbers)
    lines += ["", "SHA-256 of the file:", f"  {playbook.digest}"]
    return "\n".join(lines) + "\n"


def _about(given: Input) -> str:
    kind = " or ".join(given.options) if given.options else str(given.type)
    if given.required:
        must = "required"
    elif given.default in (None, ""):
        must = "optional"
    else:
        must = f"default: {_value(given.default)}"
    return f"{kind}, {must}." + (f" {given.description}" if given.description else "")


def _step(step: Step, numbers: Mapping[str, int]) -> list[str]:
    lines = ["", *_wrapped(f"{numbers[step.name]:>3}. {step.title} [{step.name}]", "", hang=5)]
    waits_for = sorted(numbers[need] for need in step.needs if need in numbers)
    if waits_for:
        plural = "steps" if len(waits_for) > 1 else "step"
        after = f"After {plural} {', '.join(map(str, waits_for))}"
        after += f"{any_result_text(step, numbers)}."
    else:
        after = "Immediately."
    if step.when:
        after += f" Only if {condition(step.when)}."
    lines += _wrapped(after, "     ")
    for part in _body(step):
        lines += _wrapped(part, "     ")
    return lines


def _body(step: Step) -> list[str]:
    by = f" ({who})" if (who := " or ".join(step.by or step.roles)) else ""
    only = [f"Only {' or '.join(step.roles)} may answer."] if step.roles else []
    match step.kind:
        case StepKind.DO:
            return _action(step)
        case StepKind.MANUAL:
            return [f"By hand{by}:", *paragraphs(step.instructions), *only]
        case StepKind.DECIDE:
            facts = [f"- {fact}" for fact in step.facts]
            found = ["Find out first:", *facts] if facts else []
            return [f"Decide{by}: {step.question} ({' / '.join(step.options)})", *found, *only]
        case StepKind.WAIT:
            return [f"Wait {length(step.wait_seconds)}."]


def _action(step: Step) -> list[str]:
    action = ACTIONS.get(step.action or "")
    parts = [f"Does: {step.action}" + (f", that is: {action.title}." if action else ".")]
    parts += [f"With {key}: {_value(value)}" for key, value in step.arguments.items()]
    if step.approval:
        people = "one other person" if step.approval.count == 1 else "other people"
        count = "" if step.approval.count == 1 else f"{step.approval.count} "
        who = f" with the role {' or '.join(step.approval.roles)}" if step.approval.roles else ""
        parts.append(f"Needs the approval of {count}{people}{who}. {step.approval.reason}".strip())
    if action and action.is_irreversible:
        parts.append("CANNOT BE UNDONE.")
    if step.no_approval_because:
        parts.append(f"Needs no approval: {step.no_approval_because}")
    if step.undo:
        parts.append(f"Undone by: {step.undo}.")
    if step.on_partial is OnPartial.GO_ON:
        parts.append("If some targets fail, the playbook continues.")
    else:
        parts.append("If some targets cannot be done, later steps wait for a person.")
    return parts


def _value(value: Json) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    given = re.fullmatch(r"{{ *inputs\.(\w+) *}}", value)
    return f"the input {given[1]}" if given else value


def _wrapped(text: str, indent: str, *, hang: int = 2) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_on_hyphens=False,
    ) or [""]
