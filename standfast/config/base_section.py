"""What a table of a file is made of: its settings, each with its type, default and explanation.

Owns the base class of every table and `setting`, which declares a key. Leaves reading one from a
file to `reading.py`, and the kinds of value to `fields.py`.

Rules
- A table's class is its schema: what a file may hold, the reference and the file that
  `standfast init` writes are all read from the same declarations.
- A table is frozen, and compared by the values of its settings.
- Nothing is checked here, so that a class costs next to nothing to make: they are all made whenever
  a command starts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Self, dataclass_transform

REQUIRED: Final = object()


class Setting(NamedTuple):
    """One key of a table: what it is called, what it takes, and what people are told about it."""

    name: str
    annotation: Any
    default: Any
    description: str
    examples: Sequence[Any]

    @property
    def is_required(self) -> bool:
        """Must the file have it?"""
        return self.default is REQUIRED


def setting(
    *, default: Any = REQUIRED, description: str = "", examples: Sequence[Any] = ()
) -> Any:  # stands where a value of the setting's own type is declared
    """Declare a key; without a default the file must have it."""
    return Setting("", None, default, description, examples)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
class Section:
    """One table of a file: what a subclass annotates and declares with `setting` are its keys."""

    _settings: ClassVar[Mapping[str, Setting]] = {}
    _folder: ClassVar[Path] = Path()
    _written: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        own = {
            name: declared._replace(name=name, annotation=annotation)
            for name, annotation in cls.__annotations__.items()
            if isinstance(declared := cls.__dict__.get(name), Setting)
        }
        for name in own:
            delattr(cls, name)
        cls._settings = {**cls._settings, **own}

    def __init__(self, **values: Any) -> None:
        given = {name: one.default for name, one in self._settings.items()} | values
        if REQUIRED in given.values() or len(given) > len(self._settings):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._settings)}")
        vars(self).update(given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; {name} is not changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__name__}({pairs})"

    def check(self) -> None:
        """Raise ValueError in words when values that fit each by itself do not fit together."""

    def placed(self, folder: Path, written: frozenset[str]) -> Self:
        """Note where the file lies and which of its keys it has; gives the section itself."""
        vars(self).update(_folder=folder, _written=written)
        return self

    def has_written(self, key: str) -> bool:
        """Does the file set this key, be it to the default?"""
        return key in self._written

    def replaced(self, **changes: Any) -> Self:
        """Give a copy with other values for some keys."""
        return type(self)(**self._values() | changes).placed(self._folder, self._written)

    def settings_digest(self) -> str:
        """Return a SHA-256 of every setting, defaults included, in hex.

        Paths in the file's own folder count by what follows it, so that hosts may place it apart.
        """
        from standfast.records import digest  # loads OpenSSL

        return digest(_plain(self, self._folder))

    def _values(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in self._settings}


def _plain(value: Any, folder: Path) -> Any:
    """Return a value as JSON has it."""
    match value:
        case Section():
            return {name: _plain(one, folder) for name, one in value._values().items()}
        case Mapping():  # names of accounts are no keys of canonical JSON, which are ASCII
            return [[str(name), _plain(one, folder)] for name, one in sorted(value.items())]
        case list() | tuple():
            return [_plain(one, folder) for one in value]
        case set() | frozenset():
            return sorted(str(one) for one in value)
        case Path():
            return str(value.relative_to(folder) if value.is_relative_to(folder) else value)
        case None | bool() | int():
            return value
        case _:
            return str(value)


def settings_of(kind: type[Section]) -> Mapping[str, Setting]:
    """Give every key of a table, those of its base class first."""
    return kind._settings
