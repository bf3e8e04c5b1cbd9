"""The text of a CACAO file to a document that the schema and the semantics let through.

Rules
- Told by its content: an object whose `spec_version` is `cacao-2.0`, or whose `type` is `playbook`.
- At most 1 MiB, 40 levels and 200 steps; a name that stands twice in one object is refused.
- Every problem has its JSON path, and a hint where one is known.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from standfast.errors import PlaybookInvalid, Problem
from standfast.playbook.cacao.schema import SCHEMA
from standfast.playbook.cacao.semantics import unsound

LARGEST_BYTES = 1024 * 1024
DEEPEST = 40
MOST_STEPS = 200
MOST_PROBLEMS = 50
VERSION = "cacao-2.0"

Document = Mapping[str, Any]  # what the schema describes


def is_cacao(text: str) -> bool:
    """Does the text claim to be a CACAO playbook? Says nothing about whether it is a sound one."""
    if not text.lstrip().startswith("{") or len(text) > LARGEST_BYTES:
        return False
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return '"spec_version"' in text
    return isinstance(document, dict) and (
        document.get("type") == "playbook" or "spec_version" in document
    )


def read_document(text: str, file: str) -> Document:
    """Read a document; PlaybookInvalid has every reason why it is none, each with its path."""
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_BYTES:
        raise _invalid(file, "is larger than 1 MiB")
    try:
        document = json.loads(
            text, object_pairs_hook=_once, parse_constant=_refuse_constant, parse_int=_whole
        )
    except RecursionError:
        raise _invalid(file, f"is nested deeper than {DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        raise PlaybookInvalid(
            [Problem(file=file, line=error.lineno, message=f"is no JSON: {error.msg}")]
        ) from None
    except ValueError as error:
        raise _invalid(file, str(error)) from None
    if _depth(document) > DEEPEST:
        raise _invalid(file, f"is nested deeper than {DEEPEST} levels")
    if problems := list(_misfits(document, file)):
        raise PlaybookInvalid(problems[:MOST_PROBLEMS])
    if len(document["workflow"]) > MOST_STEPS:
        raise _invalid(file, f"$.workflow: has more than {MOST_STEPS} steps")
    if problems := [
        Problem(file=file, line=0, message=f"{one.path}: {one.message}", hint=one.hint)
        for one in unsound(document)
    ]:
        raise PlaybookInvalid(problems[:MOST_PROBLEMS])
    return document  # type: ignore[no-any-return]  # an object, as the schema says


def _misfits(document: object, file: str) -> Iterator[Problem]:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(SCHEMA)
    for error in sorted(validator.iter_errors(document), key=lambda error: error.json_path):
        message = error.message
        if len(message) > 200:  # it quotes the value, which may be the whole workflow
            message = f"does not fit `{error.validator}`"
        hint = ""
        if error.validator == "not":
            message = "has on_completion beside on_success or on_failure"
            hint = "on_completion stands for both; keep it, or the other two"
        yield Problem(file=file, line=0, message=f"{error.json_path}: {message}", hint=hint)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("has a name twice in one object; two readers would not agree on it")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"has {name}, which is no JSON")


def _whole(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError("has a number that is too large")
    return int(digits)


def _depth(value: object) -> int:
    deepest, left = 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        deepest = max(deepest, depth)
        if isinstance(one, dict):
            left.extend((inner, depth + 1) for inner in one.values())
        elif isinstance(one, list):
            left.extend((inner, depth + 1) for inner in one)
    return deepest


def _invalid(file: str, message: str) -> PlaybookInvalid:
    return PlaybookInvalid([Problem(file=file, line=0, message=message)])
