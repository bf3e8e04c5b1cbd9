"""Validation of values: findings with hints, which never repeat a value.

    found = validate(Config, tomllib.loads(text), folder)   # a Config, or a list of findings

Rules
- All findings are collected. Rules across keys are checked only if every single key is valid.
- A finding never repeats a value, because the value may be a secret that was written instead of its
  reference.
- The finding of an unknown name suggests the nearest known name.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from standfast.config.base_section import Section, example_of
from standfast.config.toml_writer import KeyPath, toml
from standfast.suggestions import nearest_name_hint

S = TypeVar("S", bound=Section)


class Finding(NamedTuple):
    """One problem of the file, at the key that is wrong or missing."""

    key: KeyPath
    message: str
    hint: str


def validate(kind: type[S], raw: object, folder: Path) -> S | list[Finding]:
    """Return the validated values of a whole file, or all findings.

    Relative paths start at `folder`.
    """
    try:
        return kind.model_validate(raw, context=folder)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [_finding(kind, detail) for detail in details if not _is_repeated(detail, details)]


def _is_repeated(error: ErrorDetails, others: Iterable[ErrorDetails]) -> bool:
    """Return whether a list is too short only because its items are invalid."""
    start = error["loc"]
    return error["type"] == "too_short" and any(
        other["loc"][: len(start)] == start and other["loc"] != start for other in others
    )


def kinds_of(section: type[Section]) -> tuple[str, ...]:
    """Return the values of the key `kind` of a section; empty without it."""
    kind = section.model_fields.get("kind")
    return get_args(kind.annotation) if kind else ()


def sections_in(annotation: object) -> list[type[Section]]:
    """Return the tables that a value may be; the key `kind` selects one."""
    return [
        choice
        for choice in choices_of(annotation)
        if isinstance(choice, type) and issubclass(choice, Section)
    ]


def choices_of(annotation: object) -> Iterator[object]:
    """Yield the types of a union, or the type itself."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from choices_of(arguments[0])
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from choices_of(argument)
    else:
        yield annotation


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: the nearest known word, or all."""
    known = list(known)
    if near := nearest_name_hint(word, known):
        return near.removeprefix("; ")
    return f"known here: {', '.join(known)}" if known else ""


class _ErrorPlace(NamedTuple):
    """Location of an error: its key, its type and its field."""

    key: KeyPath
    annotation: object
    name: str
    field: FieldInfo | None


def _error_place(kind: type[Section], location: Iterable[str | int]) -> _ErrorPlace:
    """Translate the location that pydantic reports for an error.

    pydantic's location also contains the kinds of tables and "[key]".
    """
    place = _ErrorPlace((), kind, "", None)
    for step in location:
        sections = sections_in(place.annotation)
        if len(sections) > 1:  # this step of the location is the value of the key `kind`
            (section,) = (candidate for candidate in sections if step in kinds_of(candidate))
            place = place._replace(annotation=section)
        elif step == "[key]":
            break
        elif not sections:
            place = place._replace(key=(*place.key, step), annotation=_inner(place.annotation))
        elif (field := sections[0].model_fields.get(str(step))) is None:
            return place._replace(key=(*place.key, step))
        else:
            place = _ErrorPlace((*place.key, step), field.annotation, str(step), field)
    return place


def _inner(annotation: object) -> object:
    """Return the type of the items of a list or a mapping."""
    for choice in choices_of(annotation):
        if get_origin(choice) in (tuple, Mapping):
            return get_args(choice)[0 if get_origin(choice) is tuple else 1]
    return annotation


def _finding(kind: type[Section], error: ErrorDetails) -> Finding:
    place = _error_place(kind, error["loc"])
    key, sections, context = place.key, sections_in(place.annotation), error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return Finding(key, "unknown key", nearest(str(key[-1]), sections[0].model_fields))
        case "union_tag_invalid" | "union_tag_not_found":
            kinds = [word for section in sections for word in kinds_of(section)]
            message = "is missing" if error["type"] == "union_tag_not_found" else "unknown kind"
            return Finding((*key, "kind"), message, nearest(str(context.get("tag", "")), kinds))
        case "literal_error":
            words = [word for choice in choices_of(place.annotation) for word in get_args(choice)]
            return Finding(
                key, "not one of the permitted words", nearest(str(error["input"]), words)
            )
        case "value_error":
            message = str(context["error"])
        case other:
            message = _MESSAGES.get(other, error["msg"]).format(**context)
    return Finding(key, message, _example(place))


def _example(place: _ErrorPlace) -> str:
    """Return a hint with an example of the value."""
    if place.field is None:
        return ""
    if sections := sections_in(place.field.annotation):
        fields = sections[0].model_fields.items()
        needed = " and ".join(name for name, field in fields if field.is_required())
        whole = f"write [{place.name}], with {needed}; `standfast init` writes it whole"
        return whole if needed and len(sections) == 1 else ""
    example = example_of(place.field)
    return "" if example is None else f"for example: {place.name} = {toml(example)}"


_TABLE = "a table belongs here"
_LIST = "a list belongs here"
_TEXT = "text belongs here, in quotation marks"
_NUMBER = "a number belongs here"
_WHOLE_NUMBER = "a whole number belongs here"
_MESSAGES: Mapping[
    str, str
] = {  # by error type of pydantic; other types have the message of pydantic
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
    "finite_number": "a finite number belongs here",
    "bool_type": "true or false belongs here",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} items",
}
