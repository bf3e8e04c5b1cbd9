"""Sanitizer of foreign texts, names and values for use in a playbook.

The texts come from a CACAO file (a standard format for playbooks) that somebody else wrote.

Rules
- A sanitized text contains no expression of a playbook (`{{`), and no control character except a
  line end.
- A name has letters, digits and a separator; a suffix is added to a name that is used already or
  reserved.
"""

import base64
import binascii
import keyword
import re
import unicodedata
from collections.abc import Mapping
from typing import Any


def command_text(command: Mapping[str, Any]) -> str:
    """Return the text of a command, decoded from base64 if necessary."""
    for key in ("command", "content"):
        if isinstance(command.get(key), str):
            return str(command[key])
        if encoded := command.get(f"{key}_b64"):
            try:
                return base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                return f"(base64 that cannot be read) {encoded}"
    return ""


def literal(text: str) -> str:
    """Write the text as a value in a condition.

    Double quotes become single quotes, so the value may change; `is_plain` checks this.
    """
    return '"' + text.replace('"', "'") + '"'


def is_plain(text: str) -> bool:
    """Return whether `literal` leaves the text unchanged."""
    return text == one_line(text) and '"' not in text and "\\" not in text


def clean(text: str) -> str:
    """Remove control characters and the braces of playbook expressions."""
    shown = "".join(
        character if character.isprintable() or character == "\n" else " " for character in text
    )
    return re.sub(r"\{(?=\{)", "{ ", shown).strip()


def one_line(text: str) -> str:
    """Return the text as one line of at most 190 characters."""
    return " ".join(clean(text).split())[:190].strip()


def slug(text: str, joint: str) -> str:
    """Return a name of at most 36 characters from a text, or ""."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", joint, plain).strip(joint)
    return re.sub(r"^[^a-z]+", "", found)[:36].strip(joint)


def unique(name: str, taken: set[str]) -> str:
    """Return an unused, unreserved name and add it to `taken`."""
    if keyword.iskeyword(name) or name in ("true", "false", "null", "none"):
        name = f"{name}_"
    own, number = name, 2
    while own in taken:
        own, number = f"{name[:34]}_{number}", number + 1
    taken.add(own)
    return own
