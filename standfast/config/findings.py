"""What is wrong with a configuration, in words: the key, what does not fit, what would.

Owns the wording of every refusal, and the check that what is named exists. Leaves lines and files
to `load.py`.

Rules
- A finding never repeats a value: it may be a secret written where its name belongs.
- A name that is nearly right is answered with the nearest one.
- A mistake is told once, however many rules it breaks.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from standfast.config.lines import KeyPath
from standfast.config.schema import Config
from standfast.config.structure import kinds_at, table_at
from standfast.config.written import toml


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that does not fit, at the key where it stands or is missing."""

    key: KeyPath
    message: str
    hint: str


def from_schema(error: ValidationError, raw: Mapping[str, Any]) -> Iterator[Finding]:
    """Say in words what the schema refuses in `raw`, the parsed file."""
    details = error.errors(include_url=False, include_input=False)
    keys = [_key(detail, raw) for detail in details]
    for key, detail in zip(keys, details, strict=True):
        # A list whose only item is refused is also called too short.
        is_echo = detail["type"] == "too_short" and any(
            other[: len(key)] == key and other != key for other in keys
        )
        if not is_echo:
            yield _finding(key, detail, raw)


def dangling(config: Config) -> Iterator[Finding]:
    """Find the names that should name something else in the file, and do not."""
    services, sets = config.services, config.backup.sets
    for name, service in services.items():
        key = ("services", name)
        yield from _each_known((*key, "depends_on"), service.depends_on, services, "service")
        yield from _each_known((*key, "sets"), service.sets, sets, "backup set")
    for account in config.protected.accounts:
        directory = account.partition(":")[0]
        yield from _known(
            ("protected", "accounts", account), directory, config.accounts, "directory of accounts"
        )
    if config.notices.sender is not None:
        yield from _known(("notices", "sender"), config.notices.sender, config.senders, "sender")
    if config.notices.staff_audience is not None:
        yield from _known(
            ("notices", "staff_audience"),
            config.notices.staff_audience,
            config.audiences,
            "audience",
        )


def _each_known(
    key: KeyPath, names: Iterable[str], known: Iterable[str], noun: str
) -> Iterator[Finding]:
    for number, name in enumerate(names):
        yield from _known((*key, number), name, known, noun)


def _known(key: KeyPath, name: str, known: Iterable[str], noun: str) -> Iterator[Finding]:
    names = list(known)
    if name not in names:
        hint = _nearest(name, names) or f"there is no {noun} in this file yet; add it or drop this"
        yield Finding(key=key, message=f"names no {noun} of this file", hint=hint)


def _finding(key: KeyPath, detail: ErrorDetails, raw: Mapping[str, Any]) -> Finding:
    kind, message, hint = detail["type"], detail["msg"], ""
    table = _value_at(raw, key[:-1])
    of_kind = str(table.get("kind", "")) if isinstance(table, Mapping) else ""
    if kind == "extra_forbidden":
        known = table_at(key[:-1], of_kind)
        message = "unknown key"
        hint = _nearest(str(key[-1]), list(known.model.model_fields) if known else [])
    elif kind == "missing":
        message, hint = "is missing", _example(key, of_kind)
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        kinds = kinds_at(key)
        written = _value_at(raw, (*key, "kind"))
        key = (*key, "kind")
        message = "is missing" if written is None else "unknown kind"
        hint = _nearest(str(written), kinds)
    elif kind == "literal_error":
        message = "not one of the words that fit"
        hint = _nearest(str(_value_at(raw, key)), _words(key, of_kind))
    elif kind == "value_error":
        message = message.removeprefix("Value error, ")
    else:
        message = _lower_first(message)
    return Finding(key=key, message=message, hint=hint or _example(key, of_kind))


def _nearest(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known here: {', '.join(known)}" if known else ""


def _example(key: KeyPath, kind: str) -> str:
    table = table_at(key[:-1], kind)
    field = table.model.model_fields.get(str(key[-1])) if table else None
    if field is None or not field.examples:
        return ""
    return f"for example: {key[-1]} = {toml(field.examples[0])}"


def _words(key: KeyPath, kind: str) -> list[str]:
    """List the words that fit a key; for `kind` itself, every kind that may stand here."""
    if key[-1] == "kind":
        return kinds_at(key[:-1])
    table = table_at(key[:-1], kind)
    field = table.model.model_fields.get(str(key[-1])) if table else None
    return [str(word) for word in get_args(field.annotation)] if field else []


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def _key(detail: ErrorDetails, raw: Any) -> KeyPath:
    """Leave out of a location what is not in the file: the names of kinds, and `[key]`."""
    key: list[str | int] = []
    location = detail["loc"]
    for place, part in enumerate(location, 1):
        is_missing = detail["type"] == "missing" and place == len(location)
        if not is_missing:
            inner = _value_at(raw, (part,))
            if inner is None:
                continue
            raw = inner
        key.append(part)
    return tuple(key)


def _value_at(raw: Any, key: KeyPath) -> Any:
    """Follow a path into the parsed file; None where it ends (TOML itself has no null)."""
    for part in key:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw
