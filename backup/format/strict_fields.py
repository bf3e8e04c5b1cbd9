"""Strict reading of parsed JSON: fields, ranges, hexadecimal and base64.

If a field is missing, unknown, or of another type or range, `Damaged` is raised.
"""

import base64
import re
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Any

from backup.errors import Damaged, FormatUnknown
from backup.format import FORMAT
from backup.format.canonical_json import MAX_INTEGER, from_json, from_path_text, from_time

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


class Fields:
    """Fields of a JSON object; `where` names the stored object in errors."""

    def __init__(self, value: object, where: str, names: Iterable[str]) -> None:
        if not isinstance(value, dict):
            raise Damaged(f"{where} is not a record. Verify the vault")
        self._values = value
        self._where = where
        if value.keys() != set(names):
            raise Damaged(f"{where} lacks fields or has unknown ones. Verify the vault")

    def text(self, name: str) -> str:
        """Return a text."""
        value = self._values[name]
        if not isinstance(value, str):
            raise self._invalid(name)
        return value

    def name(self, name: str) -> str:
        """Return a name of 1 to 31 characters: a-z, 0-9, dash and underscore.

        Backup hosts, domains and backup sets have such names.
        """
        value = self.text(name)
        if not NAME.fullmatch(value):
            raise self._invalid(name)
        return value

    def integer(self, name: str, low: int = 0, high: int = MAX_INTEGER) -> int:
        """Return an integer within a range."""
        return self._integer(self._values[name], name, low, high)

    def optional_integer(self, name: str, high: int = MAX_INTEGER) -> int | None:
        """Return an integer, or None for null."""
        return None if self._values[name] is None else self.integer(name, high=high)

    def hexadecimal(self, name: str, size: int) -> bytes:
        """Return exactly `size` bytes of lower-case hexadecimal."""
        return from_hex(self._values[name], size, self._where)

    def optional_hexadecimal(self, name: str, size: int) -> bytes | None:
        """Return bytes from hexadecimal, or None for null."""
        return None if self._values[name] is None else self.hexadecimal(name, size)

    def optional_time(self, name: str) -> datetime | None:
        """Return a time, or None for null."""
        return None if self._values[name] is None else self.time(name)

    def base64(self, name: str) -> bytes:
        """Return bytes from base64."""
        return from_base64(self._values[name], self._where)

    def time(self, name: str) -> datetime:
        """Return a time."""
        return from_time(self._values[name], self._where)

    def path(self, name: str) -> bytes:
        """Return a path as bytes."""
        return from_path_text(self._values[name], self._where)

    def items(self, name: str) -> list[Any]:
        """Return a list."""
        value = self._values[name]
        if not isinstance(value, list):
            raise self._invalid(name)
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of non-negative integers."""
        return tuple(self._integer(item, name, 0, MAX_INTEGER) for item in self.items(name))

    def raw(self, name: str) -> object:
        """Return a value unchecked."""
        return self._values[name]

    def _integer(self, value: object, name: str, low: int, high: int) -> int:
        # `isinstance` would accept true and false, because bool is a subclass of int.
        if type(value) is not int or not low <= value <= high:
            raise self._invalid(name)
        return value

    def _invalid(self, name: str) -> Damaged:
        return Damaged(f"{self._where} has a wrong value for {name!r}. Verify the vault")


def read_record(data: bytes, kind: str, names: Iterable[str], where: str) -> Fields:
    """Read an unsigned record: one line of JSON with exactly these fields."""
    value = from_json(data.removesuffix(b"\n"), where)
    check_format(value, kind, where)
    return Fields(value, where, ("format", "kind", *names))


def check_format(value: object, kind: str, where: str) -> None:
    """Raise an error for a record of another format or kind."""
    if not isinstance(value, dict):
        raise Damaged(f"{where} is not a record. Verify the vault")
    number = value.get("format")
    if type(number) is int and number > FORMAT:
        raise FormatUnknown(f"{where} has format {number}. Use a newer version of this program")
    if number != FORMAT or isinstance(number, bool) or value.get("kind") != kind:
        raise Damaged(f"{where} is not a {kind} record of format {FORMAT}. Verify the vault")


def check_ascending(values: Iterable[Any], label: str, where: str) -> None:
    """Raise `Damaged` unless each value is greater than the previous value.

    So each list has only one valid order.
    """
    if any(previous >= after for previous, after in pairwise(values)):
        raise Damaged(f"{where} has {label} out of order or twice. Verify the vault")


def from_base64(value: object, where: str) -> bytes:
    """Decode base64 with padding, in its only valid form."""
    if isinstance(value, str):
        try:
            decoded = base64.b64decode(value, validate=True)
        except ValueError:
            decoded = b""
        # The unused bits of the last character must be zero, so that only one text decodes to a
        # value.
        if base64.b64encode(decoded).decode() == value:
            return decoded
    raise Damaged(f"{where} has invalid base64. Verify the vault")


def from_hex(value: object, size: int, where: str) -> bytes:
    """Decode exactly `size` bytes of lower-case hexadecimal."""
    if isinstance(value, str):
        try:
            decoded = bytes.fromhex(value)
        except ValueError:
            decoded = b""
        # `fromhex` accepts upper case and white space. Refuse them, so that only one text decodes
        # to a value.
        if len(decoded) == size and decoded.hex() == value:
            return decoded
    raise Damaged(f"{where} has an invalid hexadecimal value. Verify the vault")
