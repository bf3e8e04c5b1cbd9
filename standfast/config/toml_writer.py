"""Encoder of values as TOML, which `tomllib` can only read.

Rules
- `tomllib` reads each encoded value back as the same value.
- Tables and lists are written inline, except that `toml_lines` divides a list of tables.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]


def toml(value: object) -> str:
    """Encode a value as TOML.

    Raises ValueError unless the value is a text, number, bool, path, list or mapping.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | PurePath):
        # A TOML basic string is a JSON string in which DEL is escaped as well.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{toml_key(key)} = {toml(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(toml(inner) for inner in value)}]"
    raise ValueError(f"a {type(value).__name__} is not written in this file")


def toml_key(key: str) -> str:
    """Encode a key, in quotation marks if necessary."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)


def key_text(path: KeyPath) -> str:
    """Return the path of a key as text: `backup.sets.crm.sources[0].path`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + toml_key(part)
    return text


def toml_lines(value: object) -> list[str]:
    """Encode a value as TOML lines; a list of tables has one line per table."""
    if isinstance(value, list | tuple) and value and all(isinstance(x, Mapping) for x in value):
        return ["[", *(f"  {toml(item)}," for item in value), "]"]
    return [toml(value)]
