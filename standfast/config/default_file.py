"""The `standfast.toml` that `standfast init` writes: what is known, and the rest as comments.

Owns its layout; every key, explanation and example comes from the schema, so the two cannot drift.

Rules
- A line that begins with `# ` explains; `#key = value` is a setting to be switched on.
- A key that is not set is shown with its default, or with an example where it has none.
- An adapter that is not set up is shown with what it needs at least; the rest is in the reference.
"""

import textwrap
from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from standfast.config.table_list import ITEM, NAME, Table, tables
from standfast.config.toml_writer import toml, toml_key, toml_lines
from standfast.records import Json, JsonObject

_HEAD = """\
# Standfast: what is backed up, what must come back, who is told, and through what.
# Every key is explained in docs/configuration.md; `standfast check` tries each part of this file.
# Relative paths start at this file's folder. A secret is never written here, only its place:
# env:NAME, file:PATH or keyring:SERVICE/USER.
# A line like `#key = value` is a setting that is not switched on: what it shows is the default,
# or an example where there is none.
"""


def render_default(values: JsonObject) -> str:
    """Write the file around `values`, the settings known so far, nested as in the file.

    The text loads when `values` has what the schema requires; `parse` it before it is kept.
    """
    blocks = [_HEAD]
    for table in tables():
        if table.path and ITEM not in table.path:
            blocks.extend(_blocks(table, values))
    return "\n".join(blocks)


def _blocks(table: Table, values: JsonObject) -> Iterator[str]:
    """Write a table each time that it is set, or once as an example when it could be set."""
    found = [
        (path, here)
        for path, here in _instances((), table.path, values)
        if here.get("kind", table.kind) == table.kind
    ]
    for path, here in found:
        yield _live(path, table, here)
    if found or NAME in table.path[:-1]:
        return  # what stands below an adapter is shown where it is set, else only in the reference
    if table.path[-1] == NAME:
        yield _example((*table.path[:-1], table.kind or "main"), table)
    elif table.is_optional:
        yield _example(table.path, table)
    else:
        yield _live(table.path, table, {})


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


def _live(path: tuple[str, ...], table: Table, here: JsonObject) -> str:
    lines = [_prose(table.model.__doc__ or ""), f"[{_dotted(path)}]"]
    for key, field in table.keys.items():
        if key == "kind":
            lines.append(f"kind = {toml(table.kind)}")
            continue
        lines.append(_prose(field.description or ""))
        if key in here:
            lines.extend(_setting(key, here[key]))
        else:
            lines.extend(f"#{line}" for line in _setting(key, _shown(field)))
    return "\n".join(lines) + "\n"


def _example(path: tuple[str, ...], table: Table) -> str:
    lines = [_prose(table.model.__doc__ or ""), f"#[{_dotted(path)}]"]
    for key, field in table.keys.items():
        if field.is_required():
            value = table.kind if key == "kind" else _shown(field)
            lines.extend(f"#{line}" for line in _setting(key, value))
    return "\n".join(lines) + "\n"


def _setting(key: str, value: object) -> list[str]:
    first, *more = toml_lines(value)
    return [f"{toml_key(key)} = {first}", *more]


def _shown(field: FieldInfo) -> object:
    """The default where it says something, an example otherwise."""
    has_default = not field.is_required() and field.default not in (None, (), {})
    examples = field.examples or [""]
    return field.default if has_default else examples[0]


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(toml_key(part) for part in path)


def _prose(text: str) -> str:
    words = " ".join(text.split())  # how a docstring is indented depends on Python's version
    return textwrap.fill(words, width=98, initial_indent="# ", subsequent_indent="# ")
