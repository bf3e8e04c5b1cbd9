"""Graph of a playbook as one SVG file: boxes, shapes, legend.

The shape of a box, a word in it and its colour show whether the program, a person, a decision or a
timer carries out the step.
"""

import textwrap
from collections.abc import Mapping

from standfast.playbook.model import Playbook, Step, StepKind
from standfast.playbook.rendering.layered_graph import EDGE, Box, Shape, draw, legend_entry
from standfast.playbook.rendering.step_labels import condition, length, who_acts, who_approves
from standfast.playbook.step_graph import direct_needs, in_order

_SHAPES: Mapping[StepKind, Shape] = {
    StepKind.DO: "square",
    StepKind.MANUAL: "rounded",
    StepKind.DECIDE: "hexagon",
    StepKind.WAIT: "pill",
}


def as_svg(playbook: Playbook) -> str:
    """Draw the playbook; the text ends with a new line."""
    boxes = [
        Box(
            name=step.name,
            style=step.kind,
            shape=_SHAPES[step.kind],
            lines=_lines(step),
            has_frame=step.approval is not None,  # a second edge stands for a second person
        )
        for step in in_order(playbook)
    ]
    return draw(
        boxes,
        direct_needs(playbook),
        title=playbook.title,
        description="the steps and what waits for what",
        legend=_legend(playbook),
    )


def _lines(step: Step) -> list[tuple[str, str]]:
    """Return class and text of each line in a step's box."""
    kind = f"WAIT {length(step.wait_seconds)}" if step.kind is StepKind.WAIT else who_acts(step)
    first = kind[:1].upper() + kind[1:]
    found = [("kind", part) for part in textwrap.wrap(first, 34)]
    found += [("title", part) for part in textwrap.wrap(step.title, 27)]
    if step.options:
        found += [("kind", part) for part in textwrap.wrap(" / ".join(step.options), 34)]
    if step.approval:
        roles = who_approves(step.approval)
        label = f"✍ {step.approval.count} approval: {roles}"
        found += [("kind", part) for part in textwrap.wrap(label, 34)]
    if step.when:
        found += [("kind", part) for part in textwrap.wrap(f"Only if {condition(step.when)}", 34)]
    return found


def _legend(playbook: Playbook) -> list[str]:
    kinds: Mapping[StepKind, str] = {
        StepKind.DO: "the program",
        StepKind.MANUAL: "a person",
        StepKind.DECIDE: "a decision",
        StepKind.WAIT: "a wait",
    }
    present = {step.kind for step in playbook.steps}
    parts: list[str] = []
    x = EDGE
    for kind in [kind for kind in kinds if kind in present]:
        parts.append(legend_entry(kind, _SHAPES[kind], kinds[kind], x))
        x += 120
    if any(step.approval for step in playbook.steps):
        parts.append(
            f'<g transform="translate({x} {EDGE + 28})">'
            '<rect class="stamp" x="-3" y="-3" width="28" height="20" rx="2"/>'
            '<rect class="stamp" width="22" height="14"/>'
            '<text class="kind" x="32" y="11">✍ needs a second person</text></g>'
        )
    return parts
