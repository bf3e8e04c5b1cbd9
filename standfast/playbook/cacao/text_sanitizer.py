"""Sanitizer of foreign texts, names and values for use in a playbook.

Rules
- Nothing in it is taken for one of our placeholders, and nothing that does not print is kept.
- A name is letters, digits and what joins them; one that is taken or means something gets a number.
"""

import base64
import binascii
import keyword
import re
import unicodedata
from collections.abc import Mapping
from typing import Any


def said_by(command: Mapping[str, Any]) -> str:
    """Return what a command says, decoded where it stands in base64."""
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

    `is_plain` tells whether the value is unchanged there.
    """
    return '"' + text.replace('"', "'") + '"'


def is_plain(text: str) -> bool:
    """Can it stand in a condition as it is?"""
    return text == one_line(text) and '"' not in text and "\\" not in text


def clean(text: str) -> str:
    """Remove control characters and the braces of playbook expressions.

    A playbook accepts neither.
    """
    shown = "".join(
        character if character.isprintable() or character == "\n" else " " for character in text
    )
    return re.sub(r"\{(?=\{)", "{ ", shown).strip()


def one_line(text: str) -> str:
    """Make one line of it, of at most 190 letters."""
    return " ".join(clean(text).split())[:190].strip()


def slug(text: str, joint: str) -> str:
    """Make a name of it, of at most 36 letters; empty where it has none."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", joint, plain).strip(joint)
    return re.sub(r"^[^a-z]+", "", found)[:36].strip(joint)


def unique(name: str, taken: set[str]) -> str:
    """Return an unused name without another meaning, and mark it as taken."""
    if keyword.iskeyword(name) or name in ("true", "false", "null", "none"):
        name = f"{name}_"
    own, number = name, 2
    while own in taken:
        own, number = f"{name[:34]}_{number}", number + 1
    taken.add(own)
    return own
