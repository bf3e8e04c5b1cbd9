"""Schema violations of a document, each with the corrective action."""

from collections.abc import Callable, Iterator

from jsonschema import Draft202012Validator, ValidationError

from standfast.playbook.cacao.schema import SCHEMA
from standfast.playbook.cacao.semantics import Inconsistency
from standfast.playbook.parser.field_reader import close_to

_LONGEST_MESSAGE = 200
_KINDS = {
    "string": "a text",
    "object": "an object, in braces",
    "array": "a list, in brackets",
    "integer": "a whole number",
    "boolean": "true or false",
}


def misfits(document: object) -> Iterator[Inconsistency]:
    """Yield every schema violation, in the order of the paths."""
    errors = Draft202012Validator(SCHEMA).iter_errors(document)
    for error in sorted(errors, key=lambda error: error.json_path):
        message = error.message
        if error.validator == "not":
            message = "has on_completion together with on_success or on_failure"
        elif len(message) > _LONGEST_MESSAGE:  # the schema's own message quotes a large value
            message = f"does not fit `{error.validator}`"
        hint = _HINTS.get(str(error.validator), lambda _: "")(error)
        yield Inconsistency(path=error.json_path, message=message, hint=hint)


def _of_pattern(error: ValidationError) -> str:
    pattern = str(error.validator_value)
    if pattern.startswith("^__"):
        return "a variable's name begins and ends with two underscores, for example __address__"
    if pattern.startswith(r"^\d"):
        return "a time is written in UTC, for example 2026-01-31T08:30:00Z"
    return "an identifier is a kind, two dashes and a UUID, for example action--4f1c…"


def _alternative_keys(error: ValidationError) -> str:
    """Return a hint with the keys of a command, of which one is required."""
    keys = [key for choice in error.validator_value for key in choice.get("required", ())]
    return f"add {' or '.join(keys)}"


def _nearest_value(error: ValidationError) -> str:
    known = [str(value) for value in error.validator_value]
    return close_to(str(error.instance), known)


_HINTS: dict[str, Callable[[ValidationError], str]] = {
    "required": lambda error: "add it; the specification requires it",
    "type": lambda error: f"write {_KINDS.get(str(error.validator_value), 'another value')} there",
    "const": lambda error: f"write {error.validator_value!r}",
    "enum": _nearest_value,
    "pattern": _of_pattern,
    "anyOf": _alternative_keys,
    "not": lambda error: "on_completion replaces both; keep it, or the other two",
    "minLength": lambda error: "write a value",
    "minItems": lambda error: f"it has at least {error.validator_value}",
    "minProperties": lambda error: f"it has at least {error.validator_value}",
    "minimum": lambda error: f"it is {error.validator_value} or more",
    "maximum": lambda error: f"it is {error.validator_value} or less",
}
