"""Small CACAO documents, written as the tests need them."""

import json
from typing import Any

AGENT = "organization--00000000-0000-4000-8000-000000000001"


def named(kind: str, number: int) -> str:
    return f"{kind}--00000000-0000-4000-8000-{number:012}"


START, END = named("start", 0), named("end", 0)


def manual(after: str, text: str = "Do it.", **more: Any) -> dict[str, Any]:
    """A step that somebody carries out; its name is its text."""
    return action(after, {"type": "manual", "command": text}, name=text, **more)


def action(after: str, *commands: dict[str, Any], **more: Any) -> dict[str, Any]:
    going = {"on_completion": after} if after else {}
    return {"type": "action", "commands": list(commands), "agent": AGENT, **going, **more}


def document(workflow: dict[str, Any], first: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "playbook",
        "spec_version": "cacao-2.0",
        "id": named("playbook", 1),
        "name": "Stop the Thief",
        "description": "When somebody steals.",
        "created_by": named("identity", 1),
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "workflow_start": START,
        "workflow": {
            START: {"type": "start", "on_completion": first},
            **workflow,
            END: {"type": "end"},
        },
        "agent_definitions": {AGENT: {"type": "organization", "name": "SOC"}},
        **more,
    }


def text(workflow: dict[str, Any], first: str, **more: Any) -> str:
    return json.dumps(document(workflow, first, **more))
