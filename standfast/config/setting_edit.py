"""Edit of one setting in a configuration file; comments and layout stay."""

import re

from standfast.config.line_numbers import key_lines
from standfast.config.toml_writer import toml, toml_key

_TEXT = r"""("(?:[^"\\]|\\.)*"|'[^']*')"""


def with_setting(text: str, table: str, key: str, value: str) -> str:
    """Return the text with `key` of a top-level table set to a text.

    The caller validates the result: a value over several lines stays, and TOML refuses the key if
    the table is written inline.
    """
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
