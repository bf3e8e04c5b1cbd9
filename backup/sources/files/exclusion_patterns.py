"""Exclusion patterns: which paths of a source of files are left out; a subset of gitignore's.

- A pattern without a slash, or with one at its end only, matches a name in any folder.  With a
  slash before that it is anchored: it matches the path from the source's root.
- `*` and `?` match within one name, `[a-z]` and `[!a-z]` one character; `\\` takes the next
  character as it is.  `**/` stands for any folders or none, `/**` at the end for everything below.
- A slash at the end means folders only.
- `!` in front brings back what an earlier pattern left out; the last pattern that matches decides.
  Nothing is brought back into a folder that is left out, since such a folder is not entered.
- Bytes that are not UTF-8 are matched by `*` and `?`, one by one.
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
    """Neighbouring patterns of one sign, as one expression for names and one for paths."""

    is_negated: bool
    names: re.Pattern[str] | None
    paths: re.Pattern[str] | None

    def match(self, path: str, name: str) -> bool:
        return bool(
            (self.names is not None and self.names.fullmatch(name))
            or (self.paths is not None and self.paths.fullmatch(path))
        )


class Exclusion:
    """What a list of patterns leaves out; `UsageError` for a pattern that can match nothing."""

    def __init__(self, patterns: Sequence[str]) -> None:
        parsed = [_parse(pattern) for pattern in patterns]
        self._for_folders = _rules(parsed)
        self._for_others = _rules([one for one in parsed if not one.is_folder_only])
        self._is_kind_needed = any(one.is_folder_only for one in parsed)
        self.is_any = bool(parsed)  # without patterns nobody needs to ask

    def covers(self, path: bytes, name: bytes) -> tuple[bool, bool]:
        """Whether a path is left out if it is a folder, and if it is anything else.

        Where both say the same nobody needs to look at the path itself.
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
    """The last ones first, as they decide."""
    found = [
        _Rules(
            is_negated=is_negated,
            names=_union([one.regex for one in run if not one.is_anchored]),
            paths=_union([one.regex for one in run if one.is_anchored]),
        )
        for is_negated, group in groupby(patterns, key=lambda one: one.is_negated)
        for run in [list(group)]
    ]
    return found[::-1]


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
            f"the exclusion pattern {pattern!r} can match nothing; write a name, or a path from"
            " the source's root"
        )
    return _Pattern(
        regex=_path_regex(parts),
        is_anchored=is_anchored,
        is_folder_only=is_folder_only,
        is_negated=is_negated,
    )


def _path_regex(parts: Sequence[str]) -> str:
    found = ""
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if part == "**" and len(parts) > 1:
            found += ".+" if is_last else "(?:.*/)?"
        else:
            found += _name_regex(part) + ("" if is_last else "/")
    return found


def _name_regex(part: str) -> str:
    found = ""
    at = 0
    while at < len(part):
        character = part[at]
        at += 1
        if character == "*":
            if not found.endswith("[^/]*"):
                found += "[^/]*"
        elif character == "?":
            found += "[^/]"
        elif character == "[" and (end := _class_end(part, at)) > at:
            found += _class_regex(part[at:end])
            at = end + 1
        elif character == "\\" and at < len(part):
            found += re.escape(part[at])
            at += 1
        else:
            found += re.escape(character)
    return found


def _class_end(part: str, start: int) -> int:
    """Where the class that begins before `start` is closed; -1 for a bracket that stands alone."""
    first = start + 1 if part[start : start + 1] in ("!", "^") else start
    return part.find("]", first + 1)  # a bracket right at the beginning belongs to the class


def _class_regex(body: str) -> str:
    is_negated = body[0] in "!^"
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[1:] if is_negated else body)
    return f"[^/{members}]" if is_negated else f"(?!/)[{members}]"
