"""From what a TOML parser gave to a section, with everything in it that does not fit.

Owns the one walk through a file's values, by the annotations of the sections. Leaves the declaring
to `section.py`, single values to the rules in `fields.py`, files and lines to `load.py`.

Rules
- All findings are collected; what holds other values is judged only when those fit.
- A finding never repeats a value: it may be a secret written where its name belongs.
- A name that is nearly right is answered with the nearest one.
- A default is taken as it is declared, except that its path starts at the file's folder.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from standfast.config.base_section import Section, Setting, settings_of
from standfast.config.toml_writer import KeyPath, toml

S = TypeVar("S", bound=Section)

_UNFIT: Final = object()  # stands for a value that has a finding


class Finding(NamedTuple):
    """One thing that does not fit, at the key where it stands or is missing."""

    key: KeyPath
    message: str
    hint: str


class InFolder(NamedTuple):
    """A rule of `Annotated` that needs the file's folder; any other is a function of the value.

    Rules give the value that is kept, and raise ValueError in words that say what would fit.
    """

    rule: Callable[[Any, Path], Any]


def read(kind: type[S], raw: object, folder: Path) -> S | list[Finding]:
    """Read a whole file's values as one section: either that, or everything that does not fit."""
    reader = _Reader(folder)
    section = reader.value(kind, raw, ())
    return reader.findings or section


def kind_of(section: type[Section]) -> tuple[str, ...]:
    """Give what the key `kind` may say to mean this section; nothing where it has no such key."""
    kind = settings_of(section).get("kind")
    return get_args(kind.annotation) if kind else ()


def nearest(word: str, known: Iterable[str]) -> str:
    """Answer a word that names nothing with the nearest that does."""
    from difflib import get_close_matches

    known = list(known)
    if near := get_close_matches(word, known, n=1):
        return f"did you mean {near[0]!r}?"
    return f"known here: {', '.join(known)}" if known else ""


class _Reader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.findings: list[Finding] = []

    def value(self, annotation: Any, raw: Any, key: KeyPath, of: Setting | None = None) -> Any:
        """Read one value; `of` is the setting that it belongs to, for an example."""
        if annotation is Any:
            return raw
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._ruled(annotation, raw, key, of)
        if origin in (Union, UnionType):
            choices = [one for one in arguments if one is not NoneType]
            if len(choices) == 1:
                return self.value(choices[0], raw, key, of)
            return self._section(choices, raw, key)
        if origin is Literal:
            if raw in arguments and isinstance(raw, str):
                return raw
            hint = nearest(str(raw), arguments)
            return self._unfit(key, "not one of the words that fit", hint)
        if origin is tuple:
            return self._list(arguments[0], raw, key, of)
        if origin is Mapping:
            return self._table(arguments, raw, key, of)
        if issubclass(annotation, Section):
            return self._section([annotation], raw, key)
        return self._by(lambda found: _plain(annotation, found), raw, key, of)

    def _ruled(self, annotation: Any, raw: Any, key: KeyPath, of: Setting | None) -> Any:
        value = self.value(annotation.__origin__, raw, key, of)
        for rule in annotation.__metadata__:
            if value is _UNFIT:
                break
            value = self._by(self._bound(rule), value, key, of)
        return value

    def _section(self, kinds: list[type[Section]], raw: Any, key: KeyPath) -> Any:
        if not isinstance(raw, Mapping):
            return self._unfit(key, "a table belongs here")
        if words := [word for kind in kinds for word in kind_of(kind)]:
            written = raw.get("kind")
            kinds = [kind for kind in kinds if written in kind_of(kind)]
            if not kinds:
                message = "is missing" if written is None else "unknown kind"
                return self._unfit((*key, "kind"), message, nearest(str(written), words))
        (kind,) = kinds
        settings, before = settings_of(kind), len(self.findings)
        for name in [name for name in raw if name not in settings]:
            self._unfit((*key, name), "unknown key", nearest(name, settings))
        values = {}
        for name, one in settings.items():
            if name in raw:
                values[name] = self.value(one.annotation, raw[name], (*key, name), one)
            elif one.is_required:
                self._unfit((*key, name), "is missing", _example(one))
            else:
                values[name] = self._default(one, (*key, name))
        if len(self.findings) > before:
            return _UNFIT
        section = kind(**values).placed(self.folder, frozenset(raw))
        return self._by(_checked, section, key)

    def _list(self, inner: Any, raw: Any, key: KeyPath, of: Setting | None) -> Any:
        if not isinstance(raw, list):
            return self._unfit(key, "a list belongs here", _example(of))
        before = len(self.findings)
        items = tuple(self.value(inner, item, (*key, n), of) for n, item in enumerate(raw))
        return items if len(self.findings) == before else _UNFIT

    def _table(self, inner: tuple[Any, Any], raw: Any, key: KeyPath, of: Setting | None) -> Any:
        if not isinstance(raw, Mapping):
            return self._unfit(key, "a table belongs here", _example(of))
        before = len(self.findings)
        items = {
            self.value(inner[0], name, (*key, name)): self.value(inner[1], one, (*key, name), of)
            for name, one in raw.items()
        }
        return items if len(self.findings) == before else _UNFIT

    def _default(self, one: Setting, key: KeyPath) -> Any:
        if isinstance(one.default, Section):
            return self._section([type(one.default)], {}, key)
        value = one.default
        for rule in getattr(one.annotation, "__metadata__", ()):
            if isinstance(rule, InFolder):
                value = rule.rule(value, self.folder)
        return value

    def _bound(self, rule: InFolder | Callable[[Any], Any]) -> Callable[[Any], Any]:
        if isinstance(rule, InFolder):
            return lambda value: rule.rule(value, self.folder)
        return rule

    def _by(
        self, rule: Callable[[Any], Any], value: Any, key: KeyPath, of: Setting | None = None
    ) -> Any:
        try:
            return rule(value)
        except (ValueError, OverflowError) as error:
            return self._unfit(key, str(error), _example(of))

    def _unfit(self, key: KeyPath, message: str, hint: str = "") -> Any:
        self.findings.append(Finding(key, message, hint))
        return _UNFIT


def _checked(section: Section) -> Section:
    section.check()
    return section


def _example(of: Setting | None) -> str:
    if of and isinstance(of.annotation, type) and issubclass(of.annotation, Section):
        needed = [one.name for one in settings_of(of.annotation).values() if one.is_required]
        return f"write [{of.name}], with {' and '.join(needed)}; `standfast init` writes it whole"
    return f"for example: {of.name} = {toml(of.examples[0])}" if of and of.examples else ""


def _plain(kind: type, raw: Any) -> Any:
    """Take a value of a type that a file can hold, or a text that such a type is made from."""
    if kind is bool:
        if not isinstance(raw, bool):
            raise ValueError("true or false belongs here")
        return raw
    if kind in (int, float):
        if isinstance(raw, bool) or not isinstance(raw, int | kind):
            raise ValueError(f"a {'whole ' if kind is int else ''}number belongs here")
        return kind(raw)
    if not isinstance(raw, str):
        raise ValueError("text belongs here, in quotation marks")
    if issubclass(kind, PurePath) and (not raw or "\0" in raw):
        # To Path, "" is the folder itself: a forgotten value would mean everything in it.
        raise ValueError("a path is needed here; `.` is the folder of this file")
    return kind(raw)
