"""Conversion of the variables of a CACAO document to playbook inputs.

CACAO is a standard format of OASIS for playbooks. An input is a value that an incident receives
when it is opened. The inputs are texts, whole numbers and flags.
"""

import re
from dataclasses import dataclass
from typing import Any

from standfast.playbook.cacao.document import Document
from standfast.playbook.cacao.text_sanitizer import clean, one_line, slug, unique


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A playbook input that replaces a variable of the document."""

    name: str
    type: str  # "text", "number" or "flag"
    default: Any
    description: str

    def as_yaml(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": self.type}
        if self.default is None:
            found["required"] = True
        else:
            found["default"] = self.default
        return found | ({"description": self.description} if self.description else {})


def inputs_of(document: Document) -> dict[str, Variable]:
    """Return the input that replaces each variable, by variable."""
    names: set[str] = set()
    found = {}
    for variable, declared in document.get("playbook_variables", {}).items():
        value = declared.get("value")
        kind: str = "text"
        default: Any = value if isinstance(value, str) and value else None
        if declared["type"] == "integer":
            kind = "number"
            is_number = re.fullmatch(r"-?\d{1,15}", str(value), re.ASCII) is not None
            default = int(str(value)) if is_number and not isinstance(value, bool) else None
        elif declared["type"] == "bool":
            kind = "flag"
            default = {"true": True, "false": False}.get(str(value).lower())
        elif default is not None:
            default = clean(default)[:1000] or None
        found[variable] = Variable(
            name=unique(slug(variable, "_") or "value", names),
            type=kind,
            default=default,
            description=one_line(declared.get("description", "")),
        )
    return found
