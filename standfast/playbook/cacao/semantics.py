"""Semantic checks of a CACAO document: references, cycles, variables.

CACAO is a standard format of OASIS for playbooks.

Rules
- A reference to a step, an agent or a target must name an existing one; the first step has the type
  `start`.
- No step leads back to itself, directly or indirectly. The branch of a `while-condition` step ends
  in an `end` step, and the step repeats it.
- Every step must be reachable from the start or from the exception handler.
- A variable that is used must be declared by the playbook or by the step that uses it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from standfast.playbook.parser.field_reader import close_to

_REFERENCE = re.compile(r"(__[a-zA-Z0-9_-]{1,199}?__):value")
_NEXT = ("on_completion", "on_success", "on_failure", "on_true", "on_false")
_WITH_VARIABLES = ("commands", "condition", "switch", "in_args", "out_args")


@dataclass(frozen=True, kw_only=True)
class Inconsistency:
    """One inconsistency of a document, at a JSON path."""

    path: str
    message: str
    hint: str = ""


def edges(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the step of each edge from a step."""
    for key in _NEXT:
        if key in step:
            yield key, step[key]
    for number, other in enumerate(step.get("next_steps", ())):
        yield f"next_steps[{number}]", other
    for case, other in step.get("cases", {}).items():
        yield f"cases[{case!r}]", other


def inconsistencies(document: Mapping[str, Any]) -> Iterator[Inconsistency]:
    """Yield every inconsistency of a document that passed the schema."""
    workflow: Mapping[str, Mapping[str, Any]] = document["workflow"]
    dangling = list(_dangling(document, workflow))
    yield from dangling
    yield from _cycles(workflow)
    if not dangling:
        yield from _unreachable(document, workflow)
    yield from _undefined(document, workflow)


def _dangling(
    document: Mapping[str, Any], workflow: Mapping[str, Mapping[str, Any]]
) -> Iterator[Inconsistency]:
    start = document["workflow_start"]
    if workflow.get(start, {}).get("type") != "start":
        yield Inconsistency(
            path="$.workflow_start",
            message="leads to no step of type start",
            hint=close_to(start, [i for i, s in workflow.items() if s["type"] == "start"]),
        )
    if "workflow_exception" in document and document["workflow_exception"] not in workflow:
        yield Inconsistency(
            path="$.workflow_exception",
            message="leads to no step",
            hint=close_to(document["workflow_exception"], workflow),
        )
    agents = document.get("agent_definitions", {})
    targets = document.get("target_definitions", {})
    for name, step in workflow.items():
        for key, other in edges(step):
            if other not in workflow:
                hint = close_to(other, workflow)
                yield Inconsistency(
                    path=f"{_path(name)}.{key}", message="leads to no step", hint=hint
                )
        if "agent" in step and step["agent"] not in agents:
            yield Inconsistency(
                path=f"{_path(name)}.agent",
                message="names no agent of this playbook",
                hint=close_to(step["agent"], agents),
            )
        for number, target in enumerate(step.get("targets", ())):
            if target not in targets and target not in agents:
                yield Inconsistency(
                    path=f"{_path(name)}.targets[{number}]",
                    message="names no target of this playbook",
                    hint=close_to(target, targets),
                )
        if step["type"] not in ("start", "end") and not _has_successor(step):
            yield Inconsistency(
                path=_path(name),
                message="leads nowhere",
                hint="every branch ends in a step of type end; add on_completion",
            )


def _has_successor(step: Mapping[str, Any]) -> bool:
    if step["type"] in ("action", "playbook-action"):
        return any(key in step for key in ("on_completion", "on_success", "on_failure"))
    return True  # the steps of a block are in its branches


def _cycles(workflow: Mapping[str, Mapping[str, Any]]) -> Iterator[Inconsistency]:
    """Yield each edge that leads back to an earlier step.

    The search is iterative, because a file may have long chains of steps.
    """
    state: dict[str, int] = {}
    for root in workflow:
        if root in state:
            continue
        path = [(root, iter(list(edges(workflow[root]))))]
        state[root] = 1
        while path:
            name, left = path[-1]
            key, other = next(left, ("", ""))
            if not key:
                state[name] = 2
                path.pop()
            elif other in workflow and state.get(other) == 1:
                yield Inconsistency(
                    path=f"{_path(name)}.{key}",
                    message="leads back to an earlier step",
                    hint="repeat by a step of type while-condition, whose branch ends in `end`",
                )
            elif other in workflow and other not in state:
                state[other] = 1
                path.append((other, iter(list(edges(workflow[other])))))


def _unreachable(
    document: Mapping[str, Any], workflow: Mapping[str, Mapping[str, Any]]
) -> Iterator[Inconsistency]:
    left = [document["workflow_start"], *filter(None, [document.get("workflow_exception")])]
    seen = set(left)
    while left:
        for _, other in edges(workflow[left.pop()]):
            if other not in seen:
                seen.add(other)
                left.append(other)
    for name in workflow:
        if name not in seen:
            yield Inconsistency(
                path=_path(name),
                message="nothing leads to this step",
                hint="remove it, or add an edge to it",
            )


def _undefined(
    document: Mapping[str, Any], workflow: Mapping[str, Mapping[str, Any]]
) -> Iterator[Inconsistency]:
    declared = set(document.get("playbook_variables", {}))
    for step in workflow.values():
        # Output variables of a step are visible to the steps after it.
        declared |= set(step.get("out_args", ())) & set(step.get("step_variables", {}))
    for name, step in workflow.items():
        known = declared | set(step.get("step_variables", {}))
        for key in _WITH_VARIABLES:
            for variable in sorted(used_variables(step.get(key), bare=key.endswith("_args"))):
                if variable not in known:
                    yield Inconsistency(
                        path=f"{_path(name)}.{key}",
                        message=f"uses the variable {variable}, which is not declared",
                        hint=close_to(variable, known),
                    )


def used_variables(value: Any, *, bare: bool = False) -> set[str]:
    """Return the variables to which a value refers.

    With `bare`, a name alone is also a reference.
    """
    if isinstance(value, str):
        found = set(_REFERENCE.findall(value))
        if bare and re.fullmatch(r"__[a-zA-Z0-9_-]{1,199}__", value):
            found.add(value)
        return found
    if isinstance(value, Mapping):
        return set().union(*(used_variables(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(used_variables(inner, bare=bare) for inner in value))
    return set()


def _path(name: str) -> str:
    return f"$.workflow['{name}']"
