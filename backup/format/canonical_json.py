"""Canonical JSON (RFC 8785), time stamps and path text.

- Path text is a printable form of a path. The path itself can contain any bytes except zero.
- Only unambiguous values are used: no floats, no integer beyond 2^53 - 1, and only ASCII keys.
- The decoder accepts only canonical bytes. So two different byte strings never decode to the same
  record.
- The decoder has no limit of size: callers check the number of bytes first.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

import orjson

from backup.errors import Damaged

MAX_INTEGER = 2**53 - 1
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_UNPRINTABLE = re.compile("[\x00-\x1f%\x7f-\x9f\udc80-\udcff]")


def to_json(value: object) -> bytes:
    """Encode a value of the types that the format uses."""
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
    ).encode()


def from_json(data: bytes, where: str) -> Any:
    """Decode the output of `to_json`; raise `Damaged` for other bytes."""
    try:
        value = json.loads(data, parse_float=_no_float)
        # orjson returns the same bytes as `to_json`, in a sixth of the time.
        is_canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS) == data
    except (ValueError, RecursionError, orjson.JSONEncodeError):
        raise Damaged(f"{where} is not valid JSON. Verify the vault") from None
    if not is_canonical:
        raise Damaged(f"{where} is not canonical JSON. Verify the vault")
    return value


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{text} is not an integer")


def to_time(moment: datetime) -> str:
    """Return an aware datetime as 27 characters: UTC with microseconds."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be recorded; pass an aware datetime")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_time(text: object, where: str) -> datetime:
    """Parse the output of `to_time`."""
    if isinstance(text, str) and _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise Damaged(f"{where} has an invalid time. Verify the vault")


def to_path_text(path: bytes) -> str:
    """Convert bytes to printable text, which `from_path_text` converts back.

    Bytes that are not UTF-8, control characters and the percent sign become %XX, in upper case.
    """
    text = path.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable() and "%" not in text:
        return text  # the usual case
    return _UNPRINTABLE.sub(_percent, text) if _UNPRINTABLE.search(text) else text


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def from_path_text(text: object, where: str) -> bytes:
    """Parse the output of `to_path_text`."""
    if isinstance(text, str):
        if text.isascii() and text.isprintable() and "%" not in text:
            return text.encode()  # the usual case
        try:
            path = unquote_to_bytes(text)  # decodes %XX and encodes the other text as UTF-8
            if to_path_text(path) == text:
                return path
        except UnicodeEncodeError:
            pass
    raise Damaged(f"{where} has an invalid path text. Verify the vault")
