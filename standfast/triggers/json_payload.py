"""Reading JSON that anybody may have written.

Rules
- Bounded before it is read: its size by whoever receives it, its depth here.
- One meaning only: a key that stands twice, NaN and what is not UTF-8 are refused, since two
  readers would read them differently. Half of a surrogate pair can be escaped, and is no UTF-8.
- An error says what is wrong and repeats nothing of it.
"""

import json
import re
from collections.abc import Mapping
from typing import NoReturn

LARGEST_BYTES = 512 * 1024
DEEPEST = 32
_LONGEST_NUMBER = 32
# A text that does not end is taken whole as well: begun again at each of its quotes, the search
# would take the square of its length.
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def read_object(body: bytes, *, is_strict: bool = True) -> Mapping[str, object]:
    """Read one JSON object; ValueError when it is none, or more than one thing to two readers.

    Where not strict, of a key that stands twice the last one counts, and half of a surrogate pair
    becomes a question mark: what a program of this machine wrote must not be lost because somebody
    made it write these.
    """
    if len(body) > LARGEST_BYTES:
        raise ValueError("the message is too large")
    _refuse_deep(body)
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_object if is_strict else None,
            parse_int=_whole,
            parse_float=_fraction,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        raise ValueError("the message is not UTF-8") from None
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("the message is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("the message is not a JSON object")
    return _in_utf_8(value, is_strict=is_strict) if b"\\u" in body else value


def _in_utf_8(value: dict[str, object], *, is_strict: bool) -> Mapping[str, object]:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        if is_strict:
            raise ValueError("the message holds text that has no UTF-8") from None
        value = json.loads(text.encode(errors="replace"))
    return value


def _refuse_deep(body: bytes) -> None:
    depth = 0
    for found in _TEXT_OR_BRACKET.finditer(body):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        if depth > DEEPEST:
            raise ValueError(f"the message nests deeper than {DEEPEST} levels")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the message names a key twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("the message holds a number that is too long")
    return int(digits)


def _fraction(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("the message holds a number that is too long")
    return float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("the message holds a number that JSON does not have")
