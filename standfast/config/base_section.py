"""Base class of every table of `standfast.toml`.

Rules
- A table's class is its schema: the file's validation, the reference in `docs/`, the JSON Schema
  and the file that `standfast init` writes all come from the same fields.
- Validation is strict: it never converts a text to a number, or a number to true or false.
- Validation receives the file's folder as its context; relative paths start at this folder.
- Schemas are built at the first validation, so that commands that load no configuration start
  faster.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from standfast.records import digest


class Section(BaseModel):
    """One table of a file, with one field for each key.

    A field has the type, default, description and example of its key; see `example_of`.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", validate_default=True, defer_build=True
    )

    def settings_digest(self, folder: Path) -> str:
        """Return a SHA-256 of every setting, defaults included, in hex.

        Paths below `folder` are hashed relative to it, so that hosts with different folders have
        the same digest.
        """
        return digest(_plain(self, folder))


def example_of(field: FieldInfo) -> Any:
    """Return a key's example, its first permitted word, or its default."""
    if field.examples:
        return field.examples[0]
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)[0]
    return None if field.is_required() else field.default


def _plain(value: Any, folder: Path) -> Any:
    """Return a value as a JSON value."""
    match value:
        case Section():
            return {name: _plain(inner, folder) for name, inner in value}
        case Mapping():  # as a list: canonical JSON allows only ASCII keys
            return [[str(name), _plain(inner, folder)] for name, inner in sorted(value.items())]
        case list() | tuple():
            return [_plain(inner, folder) for inner in value]
        case Path():
            return str(value.relative_to(folder) if value.is_relative_to(folder) else value)
        case None | bool() | int():
            return value
        case _:
            return str(value)
