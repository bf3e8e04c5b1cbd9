"""Validation of a file's values, with every problem in the words of the file.

    found = validate(Config, tomllib.loads(text), folder)   # a Config, or a list of findings

Rules
- All findings are collected; rules across keys are judged only when each key fits by itself.
- A finding never repeats a value: it may be a secret written where its name belongs.
- An unknown name is answered with the nearest known one.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from standfast.config.base_section import Section
from standfast.config.toml_writer import KeyPath, toml
from standfast.suggestions import nearest_name_hint

S = TypeVar("S", bound=Section)


class Finding(NamedTuple):
    """One thing that does not fit, at the key where it stands or is missing."""

    key: KeyPath
    message: str
    hint: str


def validate(kind: type[S], raw: object, folder: Path) -> S | list[Finding]:
    """Validate a whole file's values as one section; return it, or everything that does not fit.

    Relative paths start at `folder`.
    """
    try:
        return kind.model_validate(raw, context=folder)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [_finding(kind, detail) for detail in details if not _is_repeated(detail, details)]


def _is_repeated(error: ErrorDetails, others: Iterable[ErrorDetails]) -> bool:
    """Does a list count as too short only because items of it do not fit?"""
    start = error["loc"]
    return error["type"] == "too_short" and any(
        other["loc"][: len(start)] == start and other["loc"] != start for other in others
    )


def kinds_of(section: type[Section]) -> tuple[str, ...]:
    """Return the values of the key `kind` that mean this section; none where it has no such key."""
    kind = section.model_fields.get("kind")
    return get_args(kind.annotation) if kind else ()


def sections_in(annotation: object) -> list[type[Section]]:
    """Return the tables that a value may be: several where its key `kind` decides."""
    return [
        one for one in choices_of(annotation) if isinstance(one, type) and issubclass(one, Section)
    ]


def choices_of(annotation: object) -> Iterator[object]:
    """Yield the types of a union, or the type itself."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from choices_of(arguments[0])
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from choices_of(one)
    else:
        yield annotation


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: the nearest known one, else all that are known."""
    known = list(known)
    if near := nearest_name_hint(word, known):
        return near.removeprefix("; ")
    return f"known here: {', '.join(known)}" if known else ""


class _Spot(NamedTuple):
    """Where an error is: its key in the file, the type there, and the field that it belongs to."""

    key: KeyPath
    annotation: object
    name: str
    field: FieldInfo | None


def _spot(kind: type[Section], location: Iterable[str | int]) -> _Spot:
    """Follow pydantic's location, which also names the kinds of tables and "[key]"."""
    spot = _Spot((), kind, "", None)
    for step in location:
        sections = sections_in(spot.annotation)
        if len(sections) > 1:  # the step is a kind
            (section,) = (one for one in sections if step in kinds_of(one))
            spot = spot._replace(annotation=section)
        elif step == "[key]":
            break
        elif not sections:
            spot = spot._replace(key=(*spot.key, step), annotation=_inner(spot.annotation))
        elif (field := sections[0].model_fields.get(str(step))) is None:
            return spot._replace(key=(*spot.key, step))
        else:
            spot = _Spot((*spot.key, step), field.annotation, str(step), field)
    return spot


def _inner(annotation: object) -> object:
    """Return the type of the items of a list or a mapping."""
    for one in choices_of(annotation):
        if get_origin(one) in (tuple, Mapping):
            return get_args(one)[0 if get_origin(one) is tuple else 1]
    return annotation


def _finding(kind: type[Section], error: ErrorDetails) -> Finding:
    spot = _spot(kind, error["loc"])
    key, sections, context = spot.key, sections_in(spot.annotation), error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return Finding(key, "unknown key", nearest(str(key[-1]), sections[0].model_fields))
        case "union_tag_invalid" | "union_tag_not_found":
            kinds = [word for section in sections for word in kinds_of(section)]
            message = "is missing" if error["type"] == "union_tag_not_found" else "unknown kind"
            return Finding((*key, "kind"), message, nearest(str(context.get("tag", "")), kinds))
        case "literal_error":
            words = [word for one in choices_of(spot.annotation) for word in get_args(one)]
            return Finding(
                key, "not one of the words that fit", nearest(str(error["input"]), words)
            )
        case "value_error":
            message = str(context["error"])
        case other:
            message = _MESSAGES.get(other, error["msg"]).format(**context)
    return Finding(key, message, _example(spot))


def _example(spot: _Spot) -> str:
    """Return the hint that shows how a value may be written."""
    if spot.field is None:
        return ""
    if sections := sections_in(spot.field.annotation):
        fields = sections[0].model_fields.items()
        needed = " and ".join(name for name, field in fields if field.is_required())
        whole = f"write [{spot.name}], with {needed}; `standfast init` writes it whole"
        return whole if needed and len(sections) == 1 else ""
    examples = spot.field.examples
    return f"for example: {spot.name} = {toml(examples[0])}" if examples else ""


_TABLE = "a table belongs here"
_LIST = "a list belongs here"
_TEXT = "text belongs here, in quotation marks"
_NUMBER = "a number belongs here"
_WHOLE_NUMBER = "a whole number belongs here"
_MESSAGES: Mapping[str, str] = {  # pydantic's types of errors; any other has pydantic's own words
    "missing": "is missing",
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "dict_type": _TABLE,
    "mapping_type": _TABLE,
    "is_instance_of": _TABLE,
    "tuple_type": _LIST,
    "string_type": _TEXT,
    "path_type": _TEXT,
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_type": _NUMBER,
    "finite_number": "a number with an end belongs here",
    "bool_type": "true or false belongs here",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} items",
}
