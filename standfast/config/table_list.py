"""The schema as a list of tables: which keys stand where in `standfast.toml`.

Owns the walk through `Config`; hints for unknown keys, the reference in `docs/` and the file that
`standfast init` writes all read the same list.

Rules
- A part of a path that the file's writer chooses is `NAME`; an item of a list is `ITEM`.
- Where a table may be of several kinds, each kind is listed, one after the other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, get_args, get_origin

from pydantic.fields import FieldInfo

from standfast.config.base_section import Section
from standfast.config.schema import Config
from standfast.config.validation import choices_of, kinds_of

NAME: Final = "NAME"
ITEM: Final = "ITEM"


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the file.

    `kind` is what its key `kind` says, empty when it has none. `keys` are those that are written
    in this table, required ones first; a key that is a table of its own is listed as one instead.
    `is_optional`: without the table something is switched off, which no default could say.
    """

    path: tuple[str, ...]
    kind: str
    model: type[Section]
    keys: Mapping[str, FieldInfo]
    is_optional: bool = False


def tables() -> Iterator[Table]:
    """List every table, each after the one it stands in, in the order in which a file is read."""
    yield from _below((), Config)


def _below(
    path: tuple[str, ...], model: type[Section], *, is_optional: bool = False
) -> Iterator[Table]:
    fields = model.model_fields
    inner = {key: list(_sections(field.annotation)) for key, field in fields.items()}
    keys = {
        key: field
        for key, field in sorted(fields.items(), key=lambda item: not item[1].is_required())
        if not inner[key] or any(ITEM in steps for steps, _ in inner[key])
    }
    yield Table(
        path=path, kind="".join(kinds_of(model)), model=model, keys=keys, is_optional=is_optional
    )
    for key, field in fields.items():
        may_lack = field.default is None
        for steps, section in inner[key]:
            yield from _below((*path, key, *steps), section, is_optional=may_lack)


def _sections(annotation: object) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Yield the tables that a field may hold, and the steps from its key to each."""
    for one in choices_of(annotation):
        if isinstance(one, type) and issubclass(one, Section):
            yield (), one
        elif get_origin(one) is Mapping:
            yield from (((NAME, *steps), inner) for steps, inner in _sections(get_args(one)[1]))
        elif get_origin(one) is tuple:
            yield from (((ITEM, *steps), inner) for steps, inner in _sections(get_args(one)[0]))
