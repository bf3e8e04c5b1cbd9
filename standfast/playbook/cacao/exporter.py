"""Conversion of a playbook to a CACAO document: rows, variables, agents.

In Standfast, each step names the steps that it needs; CACAO, a standard format, nests blocks. The
steps are exported in rows. Each step is in the first row after all steps that it needs, and a row
of several steps is a `parallel` block. This order is stricter than the order of the playbook. The
extension of each step contains the original step.

Rules
- A step is an `action` with one `manual` command that describes it, so that an operator of another
  tool can follow it. Nothing is exported that could be executed without this program's approvals.
- A condition becomes an `if-condition` around its step; the names in the condition become
  variables.
- Identifiers are derived from names, so that the same playbook always has the same document.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from standfast.errors import PlaybookInvalid
from standfast.playbook.cacao.document import VERSION
from standfast.playbook.cacao.step_extension import (
    CREATOR,
    DEFINITION,
    EXTENSION,
    HEAD,
    ORDER,
    STEP,
    identifier,
)
from standfast.playbook.model import InputType, Playbook, Step, StepKind
from standfast.playbook.parser.yaml_tree import read_tree
from standfast.playbook.step_graph import in_order
from standfast.playbook.validation.playbook_rules import judge_order
from standfast.records import utc

_TYPES = {InputType.NUMBER: "integer", InputType.FLAG: "bool", InputType.ACCOUNTS: "list"}
_NAME = re.compile(r"\b(?:inputs|answers|steps)(?:\.\w+|\[\"\w+\"\])+")


def export_cacao(playbook: Playbook, now: datetime) -> str:
    """Convert a playbook to a CACAO document.

    Raise `PlaybookInvalid` if its steps need each other in a cycle.
    """
    if problems := judge_order(playbook):
        raise PlaybookInvalid(problems)
    plain = read_tree(playbook.source, playbook.file)[0].plain()
    body: Mapping[str, Any] = plain if isinstance(plain, Mapping) else {}
    moment = utc(now).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    workflow, first = _workflow(playbook, body.get("steps", {}))
    document = {
        "type": "playbook",
        "spec_version": VERSION,
        "id": identifier("playbook", playbook.name),
        "name": playbook.title,
        "description": playbook.use_when,
        "playbook_types": ["engagement", "mitigation"],
        "created_by": CREATOR,
        "created": moment,
        "modified": moment,
        "workflow_start": first,
        "workflow": workflow,
        "playbook_variables": _variables(playbook),
        "agent_definitions": {
            _agent(playbook): {
                "type": "organization",
                "name": "The people that carry out the playbook",
            }
        },
        "extension_definitions": {EXTENSION: DEFINITION},
        "playbook_extensions": {
            EXTENSION: {
                HEAD: {key: value for key, value in body.items() if key != "steps"},
                ORDER: [step.name for step in playbook.steps],
            }
        },
    }
    if not document["playbook_variables"]:
        del document["playbook_variables"]
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _workflow(
    playbook: Playbook, written: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], str]:
    rows = _rows(playbook)
    end = identifier("end", playbook.name)
    workflow: dict[str, dict[str, Any]] = {end: {"type": "end"}}
    after = end
    for number, row in reversed(list(enumerate(rows))):
        if len(row) == 1:
            after = _add_step(playbook, row[0], written, workflow, after)
            continue
        parallel = identifier("parallel", playbook.name, str(number))
        heads = []
        for step in row:
            last = identifier("end", playbook.name, step.name)
            workflow[last] = {"type": "end"}
            heads.append(_add_step(playbook, step, written, workflow, last))
        workflow[parallel] = {"type": "parallel", "next_steps": heads, "on_completion": after}
        after = parallel
    start = identifier("start", playbook.name)
    workflow[start] = {"type": "start", "on_completion": after}
    return dict(reversed(workflow.items())), start


def _rows(playbook: Playbook) -> list[list[Step]]:
    depth: dict[str, int] = {}
    rows: list[list[Step]] = []
    for step in in_order(playbook):
        depth[step.name] = max((depth[need] + 1 for need in step.needs), default=0)
        while len(rows) <= depth[step.name]:
            rows.append([])
        rows[depth[step.name]].append(step)
    return rows


def _add_step(
    playbook: Playbook,
    step: Step,
    written: Mapping[str, Any],
    workflow: dict[str, dict[str, Any]],
    after: str,
) -> str:
    """Add one step that leads to `after`; return the identifier of its start."""
    action = identifier("action", playbook.name, step.name)
    body: dict[str, Any] = {
        "type": "action",
        "name": step.title,
        "on_completion": after,
        "commands": [{"type": "manual", "command": _description(step)}],
        "agent": _agent(playbook),
        "step_extensions": {EXTENSION: {"name": step.name, STEP: written[step.name]}},
    }
    if step.kind is StepKind.WAIT:
        body["delay"] = step.wait_seconds * 1000
    if step.when is None:
        workflow[action] = body
        return action
    last = identifier("end", playbook.name, step.name, "when")
    choice = identifier("if-condition", playbook.name, step.name)
    workflow[last] = {"type": "end"}
    workflow[action] = body | {"on_completion": last}
    workflow[choice] = {
        "type": "if-condition",
        "name": f"Only if: {step.title}",
        "condition": _condition(step.when),
        "on_true": action,
        "on_completion": after,
    }
    return choice


def _description(step: Step) -> str:
    match step.kind:
        case StepKind.MANUAL:
            return step.instructions
        case StepKind.DECIDE:
            return f"{step.question} ({' / '.join(step.options)})"
        case StepKind.WAIT:
            return f"Wait {step.wait_seconds} seconds."
        case StepKind.DO:
            given = json.dumps(dict(step.arguments), ensure_ascii=False, default=str)
            approved = f" {step.approval.count} must approve it." if step.approval else ""
            return f"{step.title}: {step.action} with {given}.{approved}"


def _variables(playbook: Playbook) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for given in playbook.inputs:
        variable: dict[str, Any] = {"type": _TYPES.get(given.type, "string"), "external": True}
        if given.description:
            variable["description"] = given.description
        found[_variable(f"inputs.{given.name}")] = variable
    for step in playbook.steps:
        for name in _NAME.findall(step.when or ""):
            found.setdefault(_variable(name), {"type": "string", "external": True})
    return found


def _condition(when: str) -> str:
    """Write a condition as a STIX pattern: variables, =, AND, OR and NOT."""
    parts: Sequence[str] = re.split(r"(\"[^\"]*\"|'[^']*')", when)
    return "".join(
        part if number % 2 else _outside_texts(part) for number, part in enumerate(parts)
    )


def _outside_texts(part: str) -> str:
    part = _NAME.sub(lambda match: f"{_variable(match[0])}:value", part)
    for ours, theirs in (("==", "="), (r"\band\b", "AND"), (r"\bor\b", "OR"), (r"\bnot\b", "NOT")):
        part = re.sub(ours, theirs, part)
    return part


def _variable(name: str) -> str:
    return f"__{'_'.join(re.findall(r'[A-Za-z0-9_]+', name))}__"


def _agent(playbook: Playbook) -> str:
    return identifier("organization", playbook.name)
