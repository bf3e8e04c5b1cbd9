"""Default `standfast.toml`: layout of settings, comments and examples.

A setting with a known value is active, and every other setting is a comment. This module defines
the layout; every key, explanation and example comes from the schema, so that file and schema always
agree.

Rules
- A line that begins with `# ` is an explanation; `#key = value` is a setting that is not active.
- A key that is not set is shown with its default, or with an example if it has no default.
- An adapter that is not configured is shown only with its required keys; the reference page lists
  the other keys.
"""

import textwrap
from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from standfast.config.table_list import ITEM, NAME, Table, tables
from standfast.config.toml_writer import toml, toml_key, toml_lines
from standfast.records import Json, JsonObject

_HEAD = """\
# Configuration of Standfast. docs/configuration.md explains every key, and `standfast check` tests
# each part of this file.
# Relative paths start at this file's folder. A secret is never written here, only a reference:
# env:NAME, file:PATH or keyring:SERVICE/USER.
# A line like `#key = value` is a setting that is not active. It shows the default, or an example
# if the setting has no default.
"""


def render_default(values: JsonObject) -> str:
    """Return the text of the file with the settings of `values`.

    `values` is nested as in the file. The text is valid only if `values` contains every required
    setting; the caller validates it with `parse` before writing it.
    """
    blocks, written = [_HEAD], set[tuple[str, ...]]()
    for table in tables():
        if table.path and ITEM not in table.path:
            blocks.extend(_blocks(table, values, written))
    return "\n".join(blocks)


def _blocks(table: Table, values: JsonObject, written: set[tuple[str, ...]]) -> Iterator[str]:
    """Yield the text of each instance of a table, or of one example.

    Several kinds of adapters may have the same inner table. `written` contains the paths of the
    tables that are already written, so that no table is written twice.
    """
    found = [
        (path, here)
        for path, here in _instances((), table.path, values)
        if here.get("kind", table.kind) == table.kind
    ]
    for path, here in found:
        if path not in written:
            written.add(path)
            yield _active_table(path, table, here)
    if found or NAME in table.path[:-1]:
        return  # inner tables of an adapter are shown only if it is configured
    if table.path[-1] == NAME:
        yield _example((*table.path[:-1], table.kind or "main"), table)
    elif table.is_optional:
        yield _example(table.path, table)
    else:
        yield _active_table(table.path, table, {})


def _instances(
    path: tuple[str, ...], rest: tuple[str, ...], values: Json
) -> Iterator[tuple[tuple[str, ...], JsonObject]]:
    if not isinstance(values, Mapping):
        return
    if not rest:
        yield path, values
        return
    keys = list(values) if rest[0] == NAME else [rest[0]]
    for key in keys:
        yield from _instances((*path, key), rest[1:], values.get(key))


def _active_table(path: tuple[str, ...], table: Table, here: JsonObject) -> str:
    lines = [_prose(table.model.__doc__ or ""), f"[{_dotted(path)}]"]
    for key, field in table.keys.items():
        if key == "kind" and table.kind:
            lines.append(f"kind = {toml(table.kind)}")
            continue
        lines.append(_prose(field.description or ""))
        if key in here:
            lines.extend(_setting(key, here[key]))
        else:
            lines.extend(f"#{line}" for line in _setting(key, _value_or_example(field)))
    return "\n".join(lines) + "\n"


def _example(path: tuple[str, ...], table: Table) -> str:
    lines = [_prose(table.model.__doc__ or ""), f"#[{_dotted(path)}]"]
    for key, field in table.keys.items():
        if field.is_required():
            value = table.kind if key == "kind" and table.kind else _value_or_example(field)
            lines.extend(f"#{line}" for line in _setting(key, value))
    return "\n".join(lines) + "\n"


def _setting(key: str, value: object) -> list[str]:
    first, *more = toml_lines(value)
    return [f"{toml_key(key)} = {first}", *more]


def _value_or_example(field: FieldInfo) -> object:
    """Return the default of a field, or an example if the default is empty."""
    has_default = not field.is_required() and field.default not in (None, (), {})
    examples = field.examples or [""]
    return field.default if has_default else examples[0]


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(toml_key(part) for part in path)


def _prose(text: str) -> str:
    words = " ".join(text.split())  # the indentation of docstrings depends on the Python version
    return textwrap.fill(words, width=98, initial_indent="# ", subsequent_indent="# ")
