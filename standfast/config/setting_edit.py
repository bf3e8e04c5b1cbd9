"""Edit of one setting in a configuration file; keeps comments and layout."""

import re
import tomllib

from standfast.config.line_numbers import key_lines
from standfast.config.toml_writer import toml, toml_key
from standfast.errors import ConfigurationError

_TEXT = r"""("(?:[^"\\]|\\.)*"|'[^']*')"""


def with_setting(text: str, table: str, key: str, value: str) -> str:
    """Return a file's text with `key` of a top-level table set to `value`.

    Raise `ConfigurationError` for a layout that is not supported, such as a value of several lines.
    """
    edited = _edit(text, table, key, value)
    try:
        is_set = tomllib.loads(edited)[table][key] == value
    except tomllib.TOMLDecodeError:
        is_set = False
    if not is_set:
        raise ConfigurationError(
            f"{table}.{key}: its layout prevents the change. Restore the file with `standfast "
            "backup restore latest --set installation --to DIR`, and set it by hand."
        )
    return edited


def _edit(text: str, table: str, key: str, value: str) -> str:
    lines = text.splitlines(keepends=True)
    assignment = f"{toml_key(key)} = {toml(value)}"
    number = key_lines(text).get((table, key))
    if number is not None:
        pattern = rf"\b{re.escape(key)}\s*=\s*{_TEXT}"
        lines[number - 1] = re.sub(pattern, lambda _: assignment, lines[number - 1], count=1)
        return "".join(lines)
    for at, line in enumerate(lines, 1):
        if re.match(rf"\s*\[\s*{re.escape(table)}\s*\]", line):
            lines.insert(at, f"{assignment}\n")
            return "".join(lines)
    return f"{text.rstrip()}\n\n[{table}]\n{assignment}\n"
