"""Parser of a CACAO file: limits, repeated names, all problems with lines.

CACAO is a standard format of OASIS for playbooks. The parsed document has passed the schema and the
semantic checks.

Rules
- A CACAO file is recognised by its content: `type` is `playbook`, or `spec_version` exists.
- A file has at most 1 MiB, 40 levels of nesting and 200 steps. A name that occurs twice in one
  object is refused.
- Every problem has its line, its JSON path, and a hint if one is known.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn

from standfast.errors import PlaybookInvalid, Problem
from standfast.playbook.cacao.line_numbers import lines_of, places
from standfast.playbook.cacao.semantics import Inconsistency, inconsistencies

LARGEST_BYTES = 1024 * 1024
DEEPEST = 40
MOST_STEPS = 200
MOST_PROBLEMS = 50
VERSION = "cacao-2.0"

Document = Mapping[str, Any]  # the object that the schema describes


def is_cacao(text: str) -> bool:
    """Return whether the text is meant as a CACAO playbook, valid or not."""
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
    """Read a document; PlaybookInvalid has every problem with its path."""
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_BYTES:
        raise _invalid(file, "is larger than 1 MiB")
    try:
        document: dict[str, Any] = json.loads(  # the schema accepts only an object
            text,
            object_pairs_hook=_refuse_duplicate_names,
            parse_constant=_refuse_constant,
            parse_int=_parse_integer,
        )
    except RecursionError:
        raise _invalid(file, f"is nested deeper than {DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        raise PlaybookInvalid(
            [Problem(file=file, line=error.lineno, message=f"is not JSON: {error.msg}")]
        ) from None
    except _DuplicateName as error:
        raise _invalid(file, str(error), _line_of_duplicate(text), "keep one of the two") from None
    except ValueError as error:
        raise _invalid(file, str(error)) from None
    if _depth(document) > DEEPEST:
        raise _invalid(file, f"is nested deeper than {DEEPEST} levels")
    # jsonschema takes 40 ms to load, and 0.6 s if rfc3987-syntax is installed. Every command that
    # locks accounts reads the playbooks, but most installations have none in CACAO.
    from standfast.playbook.cacao.schema_errors import misfits

    if found := list(islice(misfits(document), MOST_PROBLEMS)):
        raise PlaybookInvalid(_problems(found, text, file))
    if len(document["workflow"]) > MOST_STEPS:
        raise refused(text, file, "$.workflow", f"has more than {MOST_STEPS} steps")
    if found := list(islice(inconsistencies(document), MOST_PROBLEMS)):
        raise PlaybookInvalid(_problems(found, text, file))
    return document


def refused(text: str, file: str, path: str, message: str) -> PlaybookInvalid:
    """Return the error for a problem at a JSON path of an unusable file."""
    return PlaybookInvalid(_problems([Inconsistency(path=path, message=message)], text, file))


def _problems(found: Sequence[Inconsistency], text: str, file: str) -> list[Problem]:
    lines = lines_of(text, (problem.path for problem in found))
    return [
        Problem(
            file=file, line=line, message=f"{problem.path}: {problem.message}", hint=problem.hint
        )
        for line, problem in zip(lines, found, strict=True)
    ]


class _DuplicateName(ValueError):
    """A name that occurs twice in one object."""


def _refuse_duplicate_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateName("has a name twice in one object; programs differ in which they use")
    return found


def _line_of_duplicate(text: str) -> int:
    seen = set()
    for path, line in places(text):
        if len(path) > DEEPEST:
            return 0  # too deep: another check refuses the file
        if path in seen:
            return line
        if path and isinstance(path[-1], str):
            seen.add(path)
    return 0


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"has {name}, which is not JSON")


def _parse_integer(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError("has a number that is too large")
    return int(digits)


def _depth(value: object) -> int:
    deepest, left = 0, [(value, 1)]
    while left:
        value, depth = left.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict):
            left.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            left.extend((inner, depth + 1) for inner in value)
    return deepest


def _invalid(file: str, message: str, line: int = 0, hint: str = "") -> PlaybookInvalid:
    return PlaybookInvalid([Problem(file=file, line=line, message=message, hint=hint)])
