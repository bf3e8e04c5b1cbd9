"""From what a source sent to the inputs of a playbook: text with places in the message.

`agents:{/data/user}` is the text `agents:` and whatever stands at `/data/user`. A place is a JSON
Pointer (RFC 6901); `*` as a part of it means each item of a list, and then there is one text an
item: `agents:{/alerts/*/labels/account}`.

Rules
- Nothing is computed, and no text of a message is read as anything but text: a value with commas
  is one account of a strange name, never several.
- What stands before the first place is the configuration's word: a message cannot choose the
  directory when that names it.
- A place that is missing is told by its name, and so is one that holds no text; values never are.
- Of a list, the items that have something are read; how many have nothing, `lacking` counts.
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
    """The message has nothing at a place that is asked for."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A text with places; `parse` makes one."""

    text: str
    parts: tuple[str | tuple[str, ...], ...]  # literal text, or the unescaped parts of a pointer

    @property
    def is_plain(self) -> bool:
        """Is it the same whatever the message says?"""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def is_each(self) -> bool:
        """Does it give one text for each item of a list?"""
        return any(not isinstance(part, str) and EACH in part for part in self.parts)

    def read(self, payload: Mapping[str, object]) -> str | list[str]:
        """Give the text, or the texts, that this message makes of it.

        What a message fills in is a list, so that nobody splits it at commas. Raises Missing and
        ValueError, naming the place.
        """
        if self.is_plain:
            return self.text
        if not self.is_each:
            return [self._filled(payload)]
        place = next(part for part in self.parts if not isinstance(part, str))
        before, after = (
            "".join(part for part in some if isinstance(part, str))
            for some in (
                self.parts[: self.parts.index(place)],
                self.parts[self.parts.index(place) :],
            )
        )
        found = [value for value in _each(payload, place) if value is not None]
        if not found:
            raise Missing(f"the message has nothing at {_written(place)}")
        if len(found) > MOST_VALUES:
            raise ValueError(f"the message has more than {MOST_VALUES:,} values at that place")
        return [before + _text(value, place) + after for value in found]

    def lacking(self, payload: Mapping[str, object]) -> int:
        """Count the items of its list that have nothing at its place: `read` passes them over.

        Raises ValueError where there is no list.
        """
        if not self.is_each:
            return 0
        place = next(part for part in self.parts if not isinstance(part, str))
        return sum(value is None for value in _each(payload, place))

    def _filled(self, payload: Mapping[str, object]) -> str:
        return "".join(
            part if isinstance(part, str) else _text(_one(payload, part), part)
            for part in self.parts
        )


def parse(text: str) -> Expression:
    """Read an expression; ValueError says what does not fit."""
    parts: list[str | tuple[str, ...]] = []
    end = 0
    for found in _PLACE.finditer(text):
        parts += [text[end : found.start()], _pointer(found[1])]
        end = found.end()
    parts.append(text[end:])
    kept = tuple(part for part in parts if part != "")
    if any(isinstance(part, str) and set(part) & set("{}") for part in kept):
        raise ValueError("braces hold a place in the message, such as {/data/user}")
    expression = Expression(text=text, parts=kept)
    if expression.is_each and sum(not isinstance(part, str) for part in kept) > 1:
        raise ValueError("a place with * stands alone: one text an item is made of it")
    return expression


def _pointer(text: str) -> tuple[str, ...]:
    if _BAD_ESCAPE.search(text):
        raise ValueError("in a place, ~ is written ~0 and a / within a name ~1")
    parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
    if parts.count(EACH) > 1:
        raise ValueError("a place has one * at most")
    return parts


def _written(parts: Sequence[str]) -> str:
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _one(payload: object, parts: Sequence[str]) -> object:
    found = payload
    for part in parts:
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and _is_index(part) and int(part) < len(found):
            found = found[int(part)]
        else:
            raise Missing(f"the message has nothing at {_written(parts)}")
    if found is None:
        raise Missing(f"the message has nothing at {_written(parts)}")
    return found


def _each(payload: object, parts: Sequence[str]) -> list[object]:
    """Give what stands at the place in each item, in order; None where nothing does."""
    before, after = parts[: parts.index(EACH)], parts[parts.index(EACH) + 1 :]
    items = _one(payload, before)
    if not isinstance(items, list):
        raise ValueError(f"the message has no list at {_written(before)}")
    found: list[object] = []
    for item in items:
        try:
            value = _one(item, after)
        except Missing:
            value = None
        is_blank = isinstance(value, str) and not value.strip()
        found.append(None if is_blank else value)
    return found


def _is_index(part: str) -> bool:
    """An index as RFC 6901 writes one: no sign, no leading zero."""
    return part == "0" or (
        part.isascii() and part.isdigit() and not part.startswith("0") and len(part) <= 6
    )


def _text(value: object, parts: Sequence[str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"the message has no text at {_written(parts)}")
    if not value.strip():
        raise Missing(f"the message has nothing at {_written(parts)}")
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"the text at {_written(parts)} is too long")
    return value
