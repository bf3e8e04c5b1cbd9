"""Record the fact that starts legal clocks.

A fact is a dated statement, such as the time of awareness. A legal clock is the running deadline of
a duty to notify somebody.
"""

from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Planner
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

START = "deadlines.start"
LEDGER = "ledger"  # the function of Standfast that the action calls


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    details: JsonObject = {key: value for key, value in arguments.items() if value}
    planner.validate(LEDGER, details)
    # Without `at`, the time of the fact is the end of the needed steps, not the time at which the
    # fact is recorded.
    step = planner.step
    details = {**details, "needs": [name for name in step.needs if name not in step.after]}
    draft = planner.call(START, LEDGER, f"{LEDGER}:{arguments['fact']}", details)
    return Expansion(drafts=(draft,))


ACTION = Action(
    verb=START,
    title="record the fact that starts the legal clocks",
    targets="facts",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "fact": ArgumentSpec(
            type=ArgumentType.TEXT,
            required=True,
            description="the fact, by its name in the legal clocks: awareness, detection, …",
        ),
        "at": ArgumentSpec(
            type=ArgumentType.TIME,
            description="the time of the fact; by default the end of the last step that this "
            "step needs, or the opening of the incident",
        ),
        "note": ArgumentSpec(
            type=ArgumentType.TEXT,
            default="",
            description="how the fact became known, for the record",
        ),
    },
    plan=_plan,
    done="recorded",
)
