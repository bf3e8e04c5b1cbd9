"""Playbook format as JSON Schema (draft 2020-12), for editors and tools.

    python -m standfast.playbook.json_schema > playbooks/schema.json

The schema has keys, types, lengths, names, actions and their arguments. It cannot express the order
of the steps, the expressions, or the names that the configuration defines.

Rules
- Every limit comes from the parser of playbooks, so that the schema and the parser cannot differ.
- The parser or the validation refuses everything that the schema refuses. The only exception is
  space around texts, which the parser accepts.
- The file in the repository is the output of this module; a test fails if they differ.
"""

import json

from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Use
from standfast.playbook.model import InputType, OnPartial, StepKind
from standfast.playbook.parser.field_reader import LONGEST_LINE, LONGEST_TEXT, MOST_ITEMS
from standfast.playbook.parser.playbook_file import (
    DASHED_NAME,
    IDENTIFIER,
    KEYS,
    LONGEST_DESCRIPTION,
    LONGEST_PARAGRAPH,
    MOST_STEPS,
)
from standfast.records import Json, JsonObject

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_EXPRESSION = r"^\s*\{\{[\s\S]*\}\}\s*$"


def schema() -> JsonObject:
    """Return the schema of a playbook."""
    return {
        "$schema": _DRAFT,
        "title": "Standfast playbook",
        "description": "The steps of an incident, by the program and by people, and their order.",
        "type": "object",
        "additionalProperties": False,
        "required": ["playbook", "version", "title", "use_when", "steps"],
        "properties": {
            "playbook": _named(DASHED_NAME.pattern, "The name of the file without .yaml."),
            "version": _number(1, 1_000_000, "A number that increases with each change."),
            "title": _line("A short title."),
            "use_when": _paragraph("When to use it, in one plain sentence."),
            "instead": _descriptions("Better playbooks by name, and when to use them."),
            "roles": _descriptions("The roles that are needed, and the task of each."),
            "quiet": _about(
                {"type": "boolean"},
                "No notice, and no page except to the roles that the playbook names.",
            ),
            "inputs": {
                "description": "Values that the operator supplies when the incident opens.",
                "type": "object",
                "propertyNames": {"pattern": _whole(IDENTIFIER.pattern)},
                "additionalProperties": {"$ref": "#/$defs/input"},
            },
            "steps": {
                "description": "The steps by name; `needs` decides which step waits for which.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": MOST_STEPS,
                "propertyNames": {"pattern": _whole(IDENTIFIER.pattern)},
                "additionalProperties": {"$ref": "#/$defs/step"},
            },
        },
        "$defs": {"input": _input(), "step": _step(), "approval": _approval(), "texts": _texts()},
    }


def as_text() -> str:
    """Return the text of `playbooks/schema.json`, with a final newline."""
    return json.dumps(schema(), ensure_ascii=False, indent=2) + "\n"


def _input() -> JsonObject:
    choice: Json = {
        "if": {"properties": {"type": {"const": InputType.CHOICE.value}}, "required": ["type"]},
        "then": {"required": ["options"]},
        "else": {"properties": {"options": False}},
    }
    never: Json = {
        "if": {"properties": {"required": {"const": True}}, "required": ["required"]},
        "then": {"properties": {"default": False}},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["type"],
        "properties": {
            "type": _about({"enum": [kind.value for kind in InputType]}, "The type of the value."),
            "description": _paragraph("What to enter, for people.", may_be_empty=True),
            "required": _about(
                {"type": "boolean"}, "Whether the incident needs a value to be opened."
            ),
            "default": _about({}, "The value if the operator supplies none."),
            "options": _options("The values to choose from."),
        },
        "allOf": [choice, never],
    }


def _step() -> JsonObject:
    own: dict[str, Json] = {
        "do": _about({"enum": [action.verb for action in _usable()]}, "The action of the program."),
        "with": _about(
            {"type": "object"}, "The arguments of the action; `{{ … }}` is an expression."
        ),
        "approval": {"$ref": "#/$defs/approval"},
        "undo": _about(
            {"enum": sorted({action.undo for action in _usable() if action.undo})},
            "The undo; by default that of the action.",
        ),
        "on_partial": _about(
            {"enum": [choice.value for choice in OnPartial]},
            "Whether later steps begin if some targets could not be done.",
        ),
        "manual": _text("The task of a person."),
        "decide": _paragraph("The question to a person."),
        "options": _options("The possible answers."),
        "facts": _list("Facts to find out before answering."),
        "by": _list("The roles that do the task; anybody may report that it is done."),
        "roles": _list("The only roles that may answer."),
        "wait": _about(
            {"type": "string", "pattern": "^[0-9]{1,7} ?[smhd]$"}, "A length of time, such as 30m."
        ),
    }
    common: dict[str, Json] = {
        "title": _line("The title of the step, for people."),
        "needs": _list("The steps that must be done before this step."),
        "after": _list(
            "The steps that must have ended, with any result, or be stuck for a minute, before "
            "this step."
        ),
        "when": _text("An expression; if it is false, the step is skipped."),
    }
    kinds: list[Json] = [
        {
            "required": [kind.value] + (["options"] if kind is StepKind.DECIDE else []),
            "properties": dict.fromkeys((*common, *KEYS[kind]), True),
            "additionalProperties": False,
        }
        for kind in StepKind
    ]
    return {
        "type": "object",
        "required": ["title"],
        "properties": common | own,
        "additionalProperties": False,
        "oneOf": kinds,
        "allOf": [_action_rules(action) for action in _usable()],
    }


def _action_rules(action: Action) -> JsonObject:
    """Return the rules for a step with this action."""
    required = [name for name, spec in action.arguments.items() if spec.required]
    rules: dict[str, Json] = {
        "with": {
            "properties": {name: _argument(spec) for name, spec in action.arguments.items()},
            "additionalProperties": False,
            "required": required,
        },
        "undo": {"const": action.undo} if action.undo else False,
    }
    needed = (["with"] if required else []) + (["approval"] if action.is_irreversible else [])
    return {
        "if": {"properties": {"do": {"const": action.verb}}, "required": ["do"]},
        "then": {"properties": rules, "required": needed},
    }


def _argument(spec: ArgumentSpec) -> JsonObject:
    texts: Json = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    fixed: dict[ArgumentType, list[Json]] = {
        ArgumentType.ACCOUNTS: [texts],
        ArgumentType.NAMES: [texts],
        ArgumentType.SOURCES: [{"const": "all"}, texts],
        ArgumentType.SETS: [{"const": "all"}, texts],
        ArgumentType.MAPPING: [{"type": "object"}],
    }
    if spec.type not in fixed:
        shape: dict[str, Json] = {"type": "string" if spec.required else ["string", "null"]}
    else:
        left_out: list[Json] = [] if spec.required else [{"type": "null"}]
        expression: Json = {"type": "string", "pattern": _EXPRESSION}
        shape = {"anyOf": [*fixed[spec.type], expression, *left_out]}
    return _about(shape, spec.description)


def _approval() -> JsonObject:
    return {
        "description": "The approvals that the step needs, or the reason why it needs no approval.",
        "type": "object",
        "properties": {
            "none_because": _paragraph(
                "The reason why the step needs no approval although it cannot be undone. A "
                "notice to people other than your staff always needs an approval."
            ),
            "count": _number(1, 9, "The number of other people who must approve."),
            "roles": _list("The roles that may approve; by default everybody enrolled."),
            "escalate_after_minutes": _number(
                1, 1440, "The minutes without an answer until the next people are paged."
            ),
            "reason": _paragraph("The reason, for the people who approve.", may_be_empty=True),
        },
        "additionalProperties": False,
        "if": {"required": ["none_because"]},
        "then": {"maxProperties": 1},
    }


def _usable() -> list[Action]:
    return [action for action in ACTIONS.values() if action.use is Use.STEP]


def _texts() -> JsonObject:
    text: Json = {"type": "string", "pattern": r"\S"}
    return {
        "anyOf": [
            text,
            {"type": "array", "items": text, "uniqueItems": True, "maxItems": MOST_ITEMS},
        ]
    }


def _list(about: str) -> JsonObject:
    return {"description": about, "$ref": "#/$defs/texts"}


def _options(about: str) -> JsonObject:
    return {
        "description": about,
        "type": "array",
        "items": {"type": "string", "pattern": r"\S"},
        "minItems": 2,
        "maxItems": MOST_ITEMS,
        "uniqueItems": True,
    }


def _descriptions(about: str) -> JsonObject:
    return {
        "description": about,
        "type": "object",
        "propertyNames": {"pattern": _whole(DASHED_NAME.pattern)},
        "additionalProperties": {
            "type": "string",
            "pattern": r"\S",
            "maxLength": LONGEST_DESCRIPTION,
        },
    }


def _line(about: str) -> JsonObject:
    shape: JsonObject = {"type": "string", "pattern": r"^\s*\S[^\n]*\s*$"}
    return _about({**shape, "maxLength": LONGEST_LINE + 1}, about)


def _paragraph(about: str, *, may_be_empty: bool = False) -> JsonObject:
    return _string(about, LONGEST_PARAGRAPH, may_be_empty=may_be_empty)


def _text(about: str) -> JsonObject:
    return _string(about, LONGEST_TEXT)


def _string(about: str, longest: int, *, may_be_empty: bool = False) -> JsonObject:
    # Plus one: the parser removes the final newline of a block text (`|`) before it counts.
    shape: dict[str, Json] = {"type": "string", "maxLength": longest + 1}
    return _about(shape if may_be_empty else shape | {"pattern": r"\S"}, about)


def _named(pattern: str, about: str) -> JsonObject:
    return _about({"type": "string", "pattern": _whole(pattern)}, about)


def _number(low: int, high: int, about: str) -> JsonObject:
    return _about({"type": "integer", "minimum": low, "maximum": high}, about)


def _about(shape: JsonObject, about: str) -> JsonObject:
    return {"description": about, **shape} if about else shape


def _whole(pattern: str) -> str:
    return f"^{pattern}$"


if __name__ == "__main__":
    print(as_text(), end="")
