"""Evaluation of the arguments of a `do` step for its action.

A `do` step of a playbook runs an action of the program, such as `accounts.lock`.

    arguments_of(step, state)   # {"accounts": ["alice"], "reason": ""}

Rules
- A text that is exactly `{{ … }}`, at any depth, is replaced by the value of its expression.
- An argument that is missing or null has the action's default.
- The type of a value is checked here, because the value of an expression was not known when the
  playbook was validated.
"""

from collections.abc import Mapping

from standfast.errors import UsageError
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import ArgumentType
from standfast.playbook.engine import namespace
from standfast.playbook.expressions import embedded
from standfast.playbook.model import Step
from standfast.playbook.run_state import State
from standfast.records import Json, JsonObject, moment

_WANTED = {
    ArgumentType.ACCOUNTS: "a list of account names, not empty",
    ArgumentType.NAMES: "a list of texts, not empty",
    ArgumentType.SOURCES: "`all` or a list of evidence sources",
    ArgumentType.SETS: "`all` or a list of backup sets",
    ArgumentType.TIME: "a time with its zone, such as 2026-03-01T12:00:00Z",
    ArgumentType.MAPPING: "a mapping of names to values",
}


def arguments_of(step: Step, state: State) -> dict[str, Json]:
    """Return every argument of the step's action, in the action's order.

    `state` is the state of the incident: its inputs, answers and results. Raise UsageError for a
    missing or invalid argument.
    """
    action = ACTIONS.get(step.action or "")
    if action is None:
        raise UsageError(f"step `{step.name}`: unknown action `{step.action}`. Correct `do`.")
    names = namespace(state)
    filled: dict[str, Json] = {}
    for key, spec in action.arguments.items():
        try:
            value = evaluated(step.arguments.get(key), names)
        except ValueError as error:
            raise UsageError(f"step `{step.name}`, argument `{key}`: {error}") from error
        if value is None:
            if spec.required:
                raise UsageError(f"step `{step.name}`, argument `{key}`: missing. Add it.")
            value = spec.default
        elif not fits(spec.type, value):
            raise UsageError(f"step `{step.name}`, argument `{key}`: must be {wanted(spec.type)}")
        filled[key] = value
    return filled


def evaluated(value: Json, names: JsonObject) -> Json:
    """Replace every `{{ … }}` in the value by the value of its expression.

    Raise ValueError if an expression cannot be evaluated.
    """
    if isinstance(value, Mapping):
        return {key: evaluated(inner, names) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [evaluated(inner, names) for inner in value]
    found = embedded(value)
    return value if found is None else found.evaluate(names)


def fits(kind: ArgumentType, value: Json) -> bool:
    """Return whether the value has this type.

    Whether a name exists, such as that of an audience, is checked by `validation`.
    """
    match kind:
        case ArgumentType.ACCOUNTS | ArgumentType.NAMES:
            return _is_list_of_texts(value) and bool(value)
        case ArgumentType.SOURCES | ArgumentType.SETS:
            return value == "all" or (_is_list_of_texts(value) and bool(value))
        case ArgumentType.MAPPING:
            return isinstance(value, Mapping)
        case ArgumentType.TIME:
            return isinstance(value, str) and _is_time(value)
        case _:
            return isinstance(value, str)


def wanted(kind: ArgumentType) -> str:
    """Return the description of a type for messages."""
    return _WANTED.get(kind, "a text")


def _is_time(value: str) -> bool:
    try:
        moment(value)
    except ValueError:
        return False
    return True


def _is_list_of_texts(value: Json) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
