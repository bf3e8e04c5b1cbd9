"""Printed page of a playbook, for an incident that destroys this host.

Rules
- The page explains how to work without the program. It has boxes to tick, lines to write on, and
  people to call.
- The page has no date. Thus the same playbook always results in the same page, and printed pages
  can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from standfast.playbook.actions import ACTIONS
from standfast.playbook.model import Playbook, Step, StepKind
from standfast.playbook.rendering.step_labels import (
    any_result_text,
    condition,
    length,
    paragraphs,
    who_acts,
)
from standfast.playbook.rendering.svg_graph import as_svg
from standfast.playbook.step_graph import in_order
from standfast.reports.html_page import sentence


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One step in print."""

    number: int
    step: Step
    acts: str  # the people or the program that do the step, in words
    after: Sequence[int]  # numbers of the steps that must end before
    any_result: str  # the steps in `after` that may end with any result, in words
    only_if: str  # the condition of the step, in words
    action: str  # the action of the program, in words
    is_irreversible: bool
    wait: str
    instructions: Sequence[str]
    tasks: Sequence[str]


def playbook_page(playbook: Playbook) -> str:
    """Return the page as one self-contained HTML file."""
    environment = Environment(
        loader=PackageLoader("standfast.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = sentence
    ordered = in_order(playbook)
    numbers = {step.name: number for number, step in enumerate(ordered, start=1)}
    return environment.get_template("playbook.html").render(
        playbook=playbook,
        lines=[_line(step, numbers) for step in ordered],
        drawing=Markup(as_svg(playbook)),  # noqa: S704  # `as_svg` escapes the playbook's text
        call=_calls(playbook),
    )


def _line(step: Step, numbers: Mapping[str, int]) -> _Line:
    action = ACTIONS.get(step.action or "")
    parts = paragraphs(step.instructions)
    return _Line(
        number=numbers[step.name],
        step=step,
        acts=who_acts(step),
        after=sorted(numbers[need] for need in step.needs if need in numbers),
        any_result=any_result_text(step, numbers),
        only_if=condition(step.when) if step.when else "",
        action=action.title if action else "",
        is_irreversible=action is not None and action.is_irreversible,
        wait=length(step.wait_seconds) if step.kind is StepKind.WAIT else "",
        instructions=[part for part in parts if not part.startswith("- ")],
        tasks=[part.removeprefix("- ") for part in parts if part.startswith("- ")],
    )


def _calls(playbook: Playbook) -> Sequence[tuple[str, str]]:
    """Return the roles of the playbook, then the contacts for every incident."""
    return [*playbook.roles.items(), *_EVERYBODY]


_EVERYBODY = (
    ("insurer", "emergency line, and the number of the policy"),
    ("police", "or the national centre for cyber security"),
    ("carrier", "who can redirect our numbers; where is the password for it?"),
    ("business clients", "the person that each contract names"),
)
