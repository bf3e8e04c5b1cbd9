"""Identifiers of a CACAO export, and the extension for its steps.

CACAO is a standard format of OASIS for playbooks. The extension contains the properties for which
CACAO has no term, such as approval, undo, roles, `needs` and `on_partial`. It has each step as in
the playbook's file, and the head of the file (everything except the steps). Another tool ignores
the extension and shows manual steps.
"""

import uuid

_NAMESPACE = uuid.UUID("6f1c0c9e-8f0b-5d5c-9b1a-7c2d5f3e4a10")


def identifier(kind: str, *names: str) -> str:
    """Return an identifier derived from the names alone (UUID version 5)."""
    return f"{kind}--{uuid.uuid5(_NAMESPACE, '/'.join((kind, *names)))}"


EXTENSION = identifier("extension-definition", "standfast", "1")
CREATOR = identifier("identity", "standfast")
HEAD, STEP, ORDER = "head", "step", "order"

DEFINITION = {
    "type": "extension-definition",
    "name": "standfast-playbook",
    "description": "A step as Standfast carries it out: action, approval, undo, roles, mode.",
    "created_by": CREATOR,
    "schema": "https://docs.oasis-open.org/cacao/security-playbooks/v2.0/",
    "version": "1.0.0",
}
