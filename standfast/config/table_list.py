"""List of the possible tables of `standfast.toml` and their keys.

Hints for unknown keys, the reference in `docs/` and the file that `standfast init` writes all use
this list.

Rules
- In a path, `NAME` stands for a name that the user chooses, and `ITEM` for an item of a list.
- If a table may be of several kinds, the list has an entry for each kind.
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

    `kind` is the value of the key `kind`, empty without such a key. `keys` are the keys of this
    table, required keys first, without keys whose value is a table. `is_optional` means that the
    table has no default: without the table, its feature is off.
    """

    path: tuple[str, ...]
    kind: str
    model: type[Section]
    keys: Mapping[str, FieldInfo]
    is_optional: bool = False


def tables() -> Iterator[Table]:
    """Yield every table in file order, each after the table that contains it."""
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
    kinds = kinds_of(model)
    yield Table(
        path=path,
        kind=kinds[0]
        if len(kinds) == 1
        else "",  # in a table for several kinds, `kind` is an ordinary key
        model=model,
        keys=keys,
        is_optional=is_optional,
    )
    for key, field in fields.items():
        may_lack = field.default is None
        for steps, section in inner[key]:
            yield from _below((*path, key, *steps), section, is_optional=may_lack)


def _sections(annotation: object) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Yield the tables that a field may contain, with the path to each."""
    for choice in choices_of(annotation):
        if isinstance(choice, type) and issubclass(choice, Section):
            yield (), choice
        elif get_origin(choice) is Mapping:
            yield from (((NAME, *steps), inner) for steps, inner in _sections(get_args(choice)[1]))
        elif get_origin(choice) is tuple:
            yield from (((ITEM, *steps), inner) for steps, inner in _sections(get_args(choice)[0]))
