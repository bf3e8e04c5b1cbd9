"""Parser for untrusted JSON: depth, repeated keys, numbers.

Rules
- Limits apply before parsing. The receiver limits the size, and this module limits the depth too.
- The meaning must be unique. Repeated keys, NaN and invalid UTF-8 are rejected, because two parsers
  could read them differently. Half of a surrogate pair is rejected too: it can be written as an
  escape, but has no UTF-8 form.
- An error describes the problem and repeats no input.
"""

import json
import re
from collections.abc import Mapping
from typing import NoReturn

LARGEST_BYTES = 512 * 1024
DEEPEST = 32
_LONGEST_NUMBER = 32
# An unterminated text is matched to its end. Otherwise the search would start again at each of its
# quotes, and its time would be proportional to the square of the length.
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def read_object(body: bytes, *, is_strict: bool = True) -> Mapping[str, object]:
    """Parse one JSON object; raise ValueError if it is invalid or ambiguous.

    With `is_strict` False, the last of repeated keys is used, and half of a surrogate pair becomes
    a question mark. This is for events of a local program: an attacker who can write such text into
    an event must not cause the loss of the event.
    """
    if len(body) > LARGEST_BYTES:
        raise ValueError("the message is too large")
    _refuse_deep(body)
    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=_build_object if is_strict else None,
            parse_int=_parse_whole_number,
            parse_float=_parse_fraction,
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
            raise ValueError("the message contains text without a UTF-8 form") from None
        value = json.loads(text.encode(errors="replace"))
    return value


def _refuse_deep(body: bytes) -> None:
    depth = 0
    for found in _TEXT_OR_BRACKET.finditer(body):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        if depth > DEEPEST:
            raise ValueError(f"the message nests deeper than {DEEPEST} levels")


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("the message repeats a key")
    return found


def _parse_whole_number(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("the message contains a number that is too long")
    return int(digits)


def _parse_fraction(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("the message contains a number that is too long")
    return float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("the message contains a number that JSON does not have")
