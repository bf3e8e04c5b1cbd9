r"""Exclusion patterns of a file source, a subset of gitignore's.

- A pattern without a slash, or with a slash only at its end, matches a name in any folder. A
  pattern with a slash before its end is anchored: it matches the path from the root of the source.
- `*` and `?` match within one name. `[a-z]` and `[!a-z]` match one character. After `\\`, the next
  character is literal. `**/` matches any number of folders, or none. `/**` at the end matches all
  paths below a folder.
- A pattern with a slash at its end matches only folders.
- If a pattern begins with `!`, it includes a path again that an earlier pattern excluded. The last
  matching pattern decides. A path below an excluded folder cannot be included again, because such a
  folder is not entered.
- `*` and `?` treat each byte that is not UTF-8 as one character.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from backup.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pattern:
    regex: str
    is_anchored: bool
    is_folder_only: bool
    is_negated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rules:
    """Consecutive patterns that all exclude or all include, as regexes."""

    is_negated: bool
    names: re.Pattern[str] | None
    paths: re.Pattern[str] | None

    def match(self, path: str, name: str) -> bool:
        return bool(
            (self.names is not None and self.names.fullmatch(name))
            or (self.paths is not None and self.paths.fullmatch(path))
        )


class Exclusion:
    """Compiled exclusion patterns; raises `UsageError` for an invalid pattern."""

    def __init__(self, patterns: Sequence[str]) -> None:
        parsed = [_parse(pattern) for pattern in patterns]
        self._for_folders = _rules(parsed)
        self._for_others = _rules([pattern for pattern in parsed if not pattern.is_folder_only])
        self._is_kind_needed = any(pattern.is_folder_only for pattern in parsed)
        self.has_patterns = bool(parsed)  # if false, callers need not call `match`

    def match(self, path: bytes, name: bytes) -> tuple[bool, bool]:
        """Return whether a path is excluded if it is a folder, and if it is not.

        If both values are equal, the caller need not find out the kind of the path.
        """
        if not self._for_folders:
            return False, False
        texts = os.fsdecode(path), os.fsdecode(name)
        as_folder = _decide(self._for_folders, *texts)
        return as_folder, _decide(self._for_others, *texts) if self._is_kind_needed else as_folder


def _decide(rules: Sequence[_Rules], path: str, name: str) -> bool:
    for rule in rules:
        if rule.match(path, name):
            return not rule.is_negated
    return False


def _rules(patterns: Sequence[_Pattern]) -> list[_Rules]:
    """Return the rules in reverse order, so that the last pattern decides."""
    rules = [
        _Rules(
            is_negated=is_negated,
            names=_union(
                [pattern.regex for pattern in patterns_of_sign if not pattern.is_anchored]
            ),
            paths=_union([pattern.regex for pattern in patterns_of_sign if pattern.is_anchored]),
        )
        for is_negated, group in groupby(patterns, key=lambda pattern: pattern.is_negated)
        for patterns_of_sign in [list(group)]
    ]
    return rules[::-1]


def _union(alternatives: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(alternatives), re.DOTALL) if alternatives else None


def _parse(pattern: str) -> _Pattern:
    is_negated = pattern.startswith("!")
    body = pattern[1:] if is_negated else pattern
    is_folder_only = body.endswith("/")
    parts = body.rstrip("/").split("/")
    is_anchored = len(parts) > 1
    if is_anchored and not parts[0]:
        del parts[0]
    if not all(parts) or any(part in (".", "..") for part in parts):
        raise UsageError(
            f"exclusion pattern {pattern!r}: it never matches a path. Write a name, or a path "
            "from the source's root."
        )
    return _Pattern(
        regex=_path_regex(parts),
        is_anchored=is_anchored,
        is_folder_only=is_folder_only,
        is_negated=is_negated,
    )


def _path_regex(parts: Sequence[str]) -> str:
    expression = ""
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if part == "**" and len(parts) > 1:
            expression += ".+" if is_last else "(?:.*/)?"
        else:
            expression += _name_regex(part) + ("" if is_last else "/")
    return expression


def _name_regex(part: str) -> str:
    expression = ""
    position = 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            if not expression.endswith("[^/]*"):
                expression += "[^/]*"
        elif character == "?":
            expression += "[^/]"
        elif character == "[" and (end := _class_end(part, position)) > position:
            expression += _class_regex(part[position:end])
            position = end + 1
        elif character == "\\" and position < len(part):
            expression += re.escape(part[position])
            position += 1
        else:
            expression += re.escape(character)
    return expression


def _class_end(part: str, start: int) -> int:
    """Return the index at which a character class ends, or -1 if it does not."""
    first = start + 1 if part[start : start + 1] in ("!", "^") else start
    return part.find("]", first + 1)  # a bracket as the first member belongs to the class


def _class_regex(body: str) -> str:
    is_negated = body[0] in "!^"
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[1:] if is_negated else body)
    return f"[^/{members}]" if is_negated else f"(?!/)[{members}]"
