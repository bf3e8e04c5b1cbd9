"""Reference page of every setting, generated from the schema.

    python -m standfast.config.reference_page > docs/configuration.md

This module defines the layout of the page; the schema contains every text about a setting.

Rules
- The page in the repository is the output of this module; a test fails if they differ.
"""

import sys
import textwrap
from collections.abc import Mapping
from inspect import cleandoc
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from standfast.config.base_section import Section
from standfast.config.table_list import ITEM, NAME, Table, tables
from standfast.config.toml_writer import toml, toml_key
from standfast.config.value_types import SecretReference

_HEAD = """\
# Configuration

<!-- Written by `make docs` from the schema in standfast/config; edit the schema, not this page. -->

The configuration is one file, `standfast.toml`. A command uses the first of these that is given:
the option `-c FILE`, the variable `STANDFAST_CONFIG`, the file `./standfast.toml`. `standfast init`
writes a file that explains every section. `standfast check` tests every part of the file and says
what to correct.

- **Relative paths** start at the file's folder, regardless of the working directory.
- **Secrets** are never written into this file. Write a reference instead: `env:NAME` (an
  environment variable), `file:PATH` (a file without rights for other users; a line end after its
  text is removed) or `keyring:SERVICE/USER` (needs the extra `keyring`). A plain value is refused.
- **Unknown keys** are refused, and the nearest known key is suggested. All mistakes are reported at
  once, each with its line.
- **Names** that you choose (`NAME` below) consist of lower-case letters, digits, `-` and `_`, and
  begin with a letter.
- **Editors** that support JSON Schema for TOML complete and check the file with
  [standfast.schema.json](standfast.schema.json). For Taplo and Even Better TOML, write the path of
  the schema into the first line of the file: `#:schema PATH`.
"""
_WIDTH = 110


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    parts.extend(_section(table) for table in tables() if table.path)
    return "\n".join(parts)


def heading(table: Table) -> str:
    """Return the heading of a table, as its name is written in the file.

    Examples: `[services.NAME]`, and `checks` in `[services.NAME]` for the items of a list.
    """
    if ITEM in table.path:
        place = table.path.index(ITEM)
        name = f"`{table.path[place - 1]}` in `[{'.'.join(table.path[: place - 1])}]`"
    else:
        name = f"`[{'.'.join(table.path)}]`"
    return f"{name}, `kind = {toml(table.kind)}`" if table.kind else name


def _section(table: Table) -> str:
    level = "##" if len([part for part in table.path if part != NAME]) == 1 else "###"
    lines = [f"{level} {heading(table)}", "", cleandoc(table.model.__doc__ or ""), ""]
    lines.extend(_key(key, field) for key, field in table.keys.items())
    return "\n".join(lines) + "\n"


def _key(key: str, field: FieldInfo) -> str:
    facts = [type_in_words(field.annotation)]
    if field.is_required():
        facts.append("required")
    elif field.default not in (None, (), {}):
        facts.append(f"default `{toml(field.default)}`")
    text = f"- **`{key}`** ({', '.join(facts)}): {field.description}"
    lines = textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if field.examples:  # otherwise the default or the permitted words are shown
        lines.append(f"  Example: `{toml_key(key)} = {toml(field.examples[0])}`")
    return "\n".join(lines)


def type_in_words(annotation: object) -> str:
    """Return the description of a type in plain words."""
    if isinstance(annotation, type):
        return next((words for kind, words in _WORDS.items() if issubclass(annotation, kind)), "")
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(arguments[0])
    if origin in (Union, UnionType):
        words = [type_in_words(argument) for argument in arguments if argument is not NoneType]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return " or ".join(f"`{toml(word)}`" for word in arguments)
    if origin is tuple:
        return f"list: {type_in_words(arguments[0])}"
    if origin is Mapping:
        return f"table: {type_in_words(arguments[0])} = {type_in_words(arguments[1])}"
    return ""


_WORDS: Mapping[type, str] = {  # the first match is used: bool is a subclass of int
    SecretReference: "secret by reference",
    PurePath: "path",
    Section: "table",
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
}


if __name__ == "__main__":
    sys.stdout.write(page())
