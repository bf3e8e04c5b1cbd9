"""JSON schema of the parts of a CACAO v2.0 playbook that are read here.

It was written from the property tables of the specification (sections 3 to 10). Parts that this
program does not read (signatures, markings, summaries) are not checked.
"""

from typing import Any, Final

_UUID: Final = (
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-5][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
)
_IDENTIFIER: Final = {"type": "string", "pattern": rf"^[a-z][a-z0-9-]{{2,249}}--{_UUID}$"}
_VARIABLE_NAME: Final = r"^__[a-zA-Z0-9_-]{1,199}__$"
_TEXT: Final = {"type": "string"}
_STEP_ID: Final = {"$ref": "#/$defs/identifier"}
_MOMENT: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
_VARIABLES: Final = {
    "type": "object",
    "propertyNames": {"pattern": _VARIABLE_NAME},
    "additionalProperties": {"$ref": "#/$defs/variable"},
}


def _step(kind: str, required: list[str]) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"required": required},
    }


def _command(kind: str, *choices: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
        "then": {"anyOf": [{"required": [choice]} for choice in choices]},
    }


STEP_TYPES: Final = (
    "start",
    "end",
    "action",
    "playbook-action",
    "parallel",
    "if-condition",
    "while-condition",
    "switch-condition",
)

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": [
        "type",
        "spec_version",
        "id",
        "name",
        "created_by",
        "created",
        "modified",
        "workflow_start",
        "workflow",
    ],
    "properties": {
        "type": {"const": "playbook"},
        "spec_version": {"const": "cacao-2.0"},
        "id": {"$ref": "#/$defs/identifier"},
        "name": {"type": "string", "minLength": 1},
        "description": _TEXT,
        "created_by": {"$ref": "#/$defs/identifier"},
        "created": _MOMENT,
        "modified": _MOMENT,
        "revoked": {"type": "boolean"},
        "valid_from": _MOMENT,
        "valid_until": _MOMENT,
        "priority": {"type": "integer", "minimum": 0, "maximum": 100},
        "severity": {"type": "integer", "minimum": 0, "maximum": 100},
        "impact": {"type": "integer", "minimum": 0, "maximum": 100},
        "labels": {"type": "array", "items": _TEXT},
        "workflow_start": _STEP_ID,
        "workflow_exception": _STEP_ID,
        "workflow": {
            "type": "object",
            "minProperties": 2,
            "propertyNames": {"$ref": "#/$defs/identifier"},
            "additionalProperties": {"$ref": "#/$defs/step"},
        },
        "playbook_variables": _VARIABLES,
        "playbook_extensions": {"type": "object", "additionalProperties": {"type": "object"}},
        "agent_definitions": {"type": "object", "additionalProperties": {"$ref": "#/$defs/agent"}},
        "target_definitions": {"type": "object", "additionalProperties": {"$ref": "#/$defs/agent"}},
        "extension_definitions": {"type": "object", "additionalProperties": {"type": "object"}},
        "authentication_info_definitions": {
            "type": "object",
            "additionalProperties": {"type": "object"},
        },
    },
    "$defs": {
        "identifier": _IDENTIFIER,
        "variable": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": _TEXT,
                "description": _TEXT,
                "constant": {"type": "boolean"},
                "external": {"type": "boolean"},
            },
        },
        "agent": {
            "type": "object",
            "required": ["type", "name"],
            "properties": {"type": _TEXT, "name": _TEXT},
        },
        "command": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": _TEXT,
                "description": _TEXT,
                "version": _TEXT,
                "command": _TEXT,
                "command_b64": _TEXT,
                "content": _TEXT,
                "content_b64": _TEXT,
                "headers": {"type": "object"},
            },
            "allOf": [
                _command("manual", "command", "command_b64"),
                _command("bash", "command", "command_b64"),
                _command("ssh", "command", "command_b64"),
                _command("powershell", "command", "command_b64"),
                _command("http-api", "command"),
                _command("openc2-http", "command", "content", "content_b64"),
            ],
        },
        "step": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"enum": list(STEP_TYPES)},
                "name": _TEXT,
                "description": _TEXT,
                "delay": {"type": "integer", "minimum": 0},
                "timeout": {"type": "integer", "minimum": 0},
                "on_completion": _STEP_ID,
                "on_success": _STEP_ID,
                "on_failure": _STEP_ID,
                "step_variables": _VARIABLES,
                "step_extensions": {"type": "object", "additionalProperties": {"type": "object"}},
                "in_args": {"type": "array", "items": _TEXT},
                "out_args": {"type": "array", "items": _TEXT},
                "targets": {"type": "array", "items": {"$ref": "#/$defs/identifier"}},
                "agent": {"$ref": "#/$defs/identifier"},
                "commands": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/command"}},
                "playbook_id": _STEP_ID,
                "next_steps": {"type": "array", "minItems": 1, "items": _STEP_ID},
                "condition": _TEXT,
                "on_true": _STEP_ID,
                "on_false": _STEP_ID,
                "switch": _TEXT,
                "cases": {"type": "object", "minProperties": 1, "additionalProperties": _STEP_ID},
            },
            "not": {
                "required": ["on_completion"],
                "anyOf": [{"required": ["on_success"]}, {"required": ["on_failure"]}],
            },
            "allOf": [
                _step("start", ["on_completion"]),
                _step("action", ["commands", "agent"]),
                _step("playbook-action", ["playbook_id"]),
                _step("parallel", ["next_steps"]),
                _step("if-condition", ["condition", "on_true"]),
                _step("while-condition", ["condition", "on_true"]),
                _step("switch-condition", ["switch", "cases"]),
            ],
        },
    },
}
