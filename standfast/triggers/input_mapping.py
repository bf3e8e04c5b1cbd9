"""Mapping of values in a message to inputs: placeholders, JSON Pointer.

A message from outside opens an incident. Its playbook needs inputs, such as the accounts to lock.
For each input, the configuration has an expression: a text with placeholders.

`agents:{/data/user}` is the text `agents:` followed by the value at `/data/user` of the message. A
placeholder is a JSON Pointer (RFC 6901). A `*` in it means each item of a list, and results in one
text for each item: `agents:{/alerts/*/labels/account}`.

Rules
- Values are only text and are not evaluated. A value with commas is one account with a strange
  name, and never several accounts.
- The text before the first placeholder comes from the configuration. If this text names the
  directory of the account, such as `agents:`, a message cannot choose another directory.
- If a value is missing or is not text, the error names its location. No error contains a value.
- In a list, items without a value are skipped; `lacking` counts the skipped items.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_VALUES = 10_000
LONGEST_VALUE = 2_000
EACH = "*"
_PLACE = re.compile(r"\{(/[^{}]*)\}")
_BAD_ESCAPE = re.compile(r"~(?![01])")


class Missing(ValueError):
    """The message has no value at a requested location."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A text with placeholders; `parse` creates it."""

    text: str
    parts: tuple[str | tuple[str, ...], ...]  # literal texts; pointers as tuples of unescaped keys

    @property
    def is_plain(self) -> bool:
        """Return whether the text has no placeholder."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def is_each(self) -> bool:
        """Return whether the result is one text for each item of a list."""
        return any(not isinstance(part, str) and EACH in part for part in self.parts)

    def read(self, payload: Mapping[str, object]) -> str | list[str]:
        """Return the text, or the texts, for a message.

        Texts with values are returned as a list, so that nothing splits them at commas. Raise
        Missing or ValueError with the location of the value.
        """
        if self.is_plain:
            return self.text
        if not self.is_each:
            return [self._fill(payload)]
        pointer = next(part for part in self.parts if not isinstance(part, str))
        before, after = (
            "".join(part for part in some if isinstance(part, str))
            for some in (
                self.parts[: self.parts.index(pointer)],
                self.parts[self.parts.index(pointer) :],
            )
        )
        found = [value for value in _each(payload, pointer) if value is not None]
        if not found:
            raise Missing(f"the message has no value at {_pointer_text(pointer)}")
        if len(found) > MOST_VALUES:
            raise ValueError(
                f"the message has more than {MOST_VALUES:,} values at {_pointer_text(pointer)}"
            )
        return [before + _text(value, pointer) + after for value in found]

    def lacking(self, payload: Mapping[str, object]) -> int:
        """Return the number of list items without a value, which `read` skips.

        Raise ValueError if there is no list.
        """
        if not self.is_each:
            return 0
        pointer = next(part for part in self.parts if not isinstance(part, str))
        return sum(value is None for value in _each(payload, pointer))

    def _fill(self, payload: Mapping[str, object]) -> str:
        return "".join(
            part if isinstance(part, str) else _text(_value_at(payload, part), part)
            for part in self.parts
        )


def parse(text: str) -> Expression:
    """Parse an expression; ValueError names the error."""
    parts: list[str | tuple[str, ...]] = []
    end = 0
    for found in _PLACE.finditer(text):
        parts += [text[end : found.start()], _pointer(found[1])]
        end = found.end()
    parts.append(text[end:])
    kept = tuple(part for part in parts if part != "")
    if any(isinstance(part, str) and set(part) & set("{}") for part in kept):
        raise ValueError("braces must contain a location in the message, such as {/data/user}")
    expression = Expression(text=text, parts=kept)
    if expression.is_each and sum(not isinstance(part, str) for part in kept) > 1:
        raise ValueError("a location with * must be the only one")
    return expression


def _pointer(text: str) -> tuple[str, ...]:
    if _BAD_ESCAPE.search(text):
        raise ValueError("in a location, write ~ as ~0, and / in a name as ~1")
    parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    if parts.count(EACH) > 1:
        raise ValueError("a location may have one * only")
    return parts


def _pointer_text(parts: Sequence[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _value_at(payload: object, parts: Sequence[str]) -> object:
    found = payload
    for part in parts:
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and _is_index(part) and int(part) < len(found):
            found = found[int(part)]
        else:
            raise Missing(f"the message has no value at {_pointer_text(parts)}")
    if found is None:
        raise Missing(f"the message has no value at {_pointer_text(parts)}")
    return found


def _each(payload: object, parts: Sequence[str]) -> list[object]:
    """Return the value at the location for each item of the list, in order.

    The result has None for an item without a value.
    """
    before, after = parts[: parts.index(EACH)], parts[parts.index(EACH) + 1 :]
    items = _value_at(payload, before)
    if not isinstance(items, list):
        raise ValueError(f"the message has no list at {_pointer_text(before)}")
    found: list[object] = []
    for item in items:
        try:
            value = _value_at(item, after)
        except Missing:
            value = None
        is_blank = isinstance(value, str) and not value.strip()
        found.append(None if is_blank else value)
    return found


def _is_index(part: str) -> bool:
    """Return whether a part is an index by RFC 6901: no sign, no leading zero."""
    return part == "0" or (
        part.isascii() and part.isdigit() and not part.startswith("0") and len(part) <= 6
    )


def _text(value: object, parts: Sequence[str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"the message has no text at {_pointer_text(parts)}")
    if not value.strip():
        raise Missing(f"the message has no value at {_pointer_text(parts)}")
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"the text at {_pointer_text(parts)} is too long")
    return value
