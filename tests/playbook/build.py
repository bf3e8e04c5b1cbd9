"""Small playbooks and states, written as the tests need them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from textwrap import dedent, indent
from typing import Any

from standfast.errors import PlaybookInvalid
from standfast.playbook.model import Playbook
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.run_state import Counts, State, StepView
from standfast.records import Json, Mode, StepState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

INPUTS = """
accounts: {type: accounts, required: true}
reason: {type: text, default: seen by hand}
"""


def text_of(steps: str, inputs: str = INPUTS) -> str:
    """Return the text of a playbook with these steps, indented."""
    head = "playbook: small\nversion: 1\ntitle: Small\nuse_when: Never.\n"
    return (
        head
        + "inputs:\n"
        + indent(dedent(inputs).strip(), "  ")
        + "\nsteps:\n"
        + indent(dedent(steps).strip(), "  ")
        + "\n"
    )


def playbook_of(steps: str, inputs: str = INPUTS) -> Playbook:
    return load(text_of(steps, inputs), "small.yaml")


def problems_of(text: str) -> list[tuple[int, str]]:
    """Return line and message of each error of the text."""
    try:
        load(text, "small.yaml")
    except PlaybookInvalid as error:
        return [(problem.line, problem.message) for problem in error.problems]
    return []


def view(step: str, state: StepState, **facts: Any) -> StepView:
    """Return a view of round 1; counts are keyword arguments."""
    counts = {key: facts.pop(key) for key in list(facts) if key in Counts.__dataclass_fields__}
    made: dict[str, Any] = {"step": step, "round": 1, "state": state}
    return StepView(**(made | facts | {"counts": Counts(**counts)}))


def state_of(
    playbook: Playbook,
    *views: StepView,
    inputs: Mapping[str, Json] | None = None,
    extra: tuple[StepView, ...] = (),
    mode: Mode = Mode.LIVE,
    is_stopped_or_closed: bool = False,
) -> State:
    return State(
        playbook=playbook,
        mode=mode,
        inputs=inputs or {"accounts": ["ana"], "reason": "seen"},
        steps={one.step: one for one in views},
        extra=extra,
        is_stopped_or_closed=is_stopped_or_closed,
        incident="7",
    )
