"""Selection of paths of a recovery point: patterns, or a random sample.

- A pattern is matched against the whole path `<source>/<path>`. `*`, `?` and `[…]` have the meaning
  that they have in a shell, but `*` also matches slashes. `**/` matches any number of folders, or
  none.
- If a folder is selected, all paths below it are selected. Without a pattern, all paths are
  selected. With several patterns, a path is selected if any pattern matches it.
- The printed path from `standfast backup ls` is also a pattern and selects this path. In printed
  paths, `%` and two hex digits stand for a byte, and a bracket is an ordinary character. So a
  pattern is also tried with these meanings.
- The manifest, the list of all paths, is a tree of pages. A page is not read if it can list neither
  a selected path nor a folder above a selected path.
- A sample selects each path with the same probability, by a hash of its seed and the path. The same
  seed selects the same paths of a recovery point again.
- The result for a path does not depend on other paths. So several processes can select paths, in
  any order, with the same result.
"""

import fnmatch
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backup.errors import Damaged
from backup.format.canonical_json import from_path_text
from backup.format.manifest import path_key

_WILD = re.compile(r"[*?\[]")
_SAMPLE_BYTES = 6  # first bytes of the hash that are compared; a float represents them exactly
_SAMPLE_RANGE = 2.0**48
_FOLDERS = "(?:.*?/)??"
_GLYPHS = re.compile(r"\*\*/|\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class PathSample:
    """A random sample of paths; the same seed selects the same paths."""

    percent: float  # above 0, at most 100
    seed: int

    def includes(self, path: bytes) -> bool:
        """Return whether a path is in the sample."""
        digest = hashlib.sha256(b"%d\0%b" % (self.seed, path)).digest()
        return int.from_bytes(digest[:_SAMPLE_BYTES]) * 100 < self.percent * _SAMPLE_RANGE


class Selection:
    """Selection of paths; records the patterns that matched."""

    def __init__(self, wanted: Sequence[str] | PathSample, *, includes_below: bool = True) -> None:
        """Without `includes_below`, a selected folder does not select its content."""
        self._sample = wanted if isinstance(wanted, PathSample) else None
        patterns = () if isinstance(wanted, PathSample) else wanted
        below = "(?:/.*)?" if includes_below else ""
        meanings_of = {pattern: _meanings(pattern.strip("/")) for pattern in patterns}
        self._rules = {pattern: _rule(meanings, below) for pattern, meanings in meanings_of.items()}
        self._literal_folders = [
            os.fsencode(_literal_folder(meaning))
            for meanings in meanings_of.values()
            for meaning in meanings
        ]
        self._unmatched_rules = dict(self._rules)
        self._matched_rules: list[re.Pattern[str]] = []
        self._newly_matched: list[str] = []

    def includes(self, path: bytes) -> bool:
        """Return whether a path, or a folder above it, is selected."""
        if self._sample is not None:
            return self._sample.includes(path)
        if not self._rules:
            return True
        text = os.fsdecode(path)
        first = [pattern for pattern, rule in self._unmatched_rules.items() if rule.match(text)]
        for pattern in first:
            self._mark_matched(pattern)
            self._newly_matched.append(pattern)
        return bool(first) or any(rule.match(text) for rule in self._matched_rules)

    def may_match_between(self, first: bytes, last: bytes) -> bool:
        """Return whether a page with this first and last path must be read."""
        if not self._literal_folders:
            return True
        low, high = path_key(first), path_key(last)
        for folder in self._literal_folders:
            key = path_key(folder)
            # Paths below a folder sort directly after it: their keys continue with a zero byte.
            if not folder or (key <= high and low < key + b"\1"):
                return True
            if any(low <= path_key(above) <= high for above in folders_above(folder)):
                return True
        return False

    def unmatched(self) -> list[str]:
        """Return the patterns that have selected no path so far."""
        return list(self._unmatched_rules)

    def pop_matched(self) -> list[str]:
        """Return the patterns that matched for the first time since the last call."""
        matched, self._newly_matched = self._newly_matched, []
        return matched

    def note_matched(self, patterns: Iterable[str]) -> None:
        """Record patterns that matched in another selection, such as a worker's."""
        for pattern in patterns:
            if pattern in self._unmatched_rules:
                self._mark_matched(pattern)

    def _mark_matched(self, pattern: str) -> None:
        self._matched_rules.append(self._unmatched_rules.pop(pattern))


def folders_above(path: bytes) -> Iterator[bytes]:
    """Yield the path of each folder above a path, the outermost first."""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _meanings(pattern: str) -> list[str]:
    """Return the possible meanings of a pattern, each as a pattern.

    The first meaning is the pattern as written. In the second meaning, each `%` with two hex digits
    is a byte. The other meanings are these two with brackets as ordinary characters.
    """
    found = [pattern]
    with suppress(Damaged):  # `%` is not followed by two hex digits
        found.append(os.fsdecode(from_path_text(pattern, "the pattern")))
    found += [text.replace("[", "[[]") for text in found]
    return list(dict.fromkeys(found))


def _rule(patterns: Sequence[str], below: str) -> re.Pattern[str]:
    meanings = "|".join(map(_expression, patterns))
    return re.compile(f"(?:{meanings}){below}\\Z", re.DOTALL)


def _expression(pattern: str) -> str:
    gaps, texts = [""], [""]  # expressions: each text, and the wildcard before it
    for glyph in _GLYPHS.findall(pattern):
        if len(glyph) > 1 and glyph.startswith("["):
            texts[-1] += _strip_wrapper(fnmatch.translate(glyph))
        elif glyph.startswith("*"):
            gaps.append(_FOLDERS if glyph == "**/" else ".*?")
            texts.append("")
        else:
            texts[-1] += "." if glyph == "?" else re.escape(glyph)
    parts = [gap + text for gap, text in zip(gaps, texts, strict=True)]
    # Match each text only at its first position, because this leaves the longest rest of the path.
    # If other positions were tried, a forged path of a megabyte would be searched a million times.
    # An exception is a text before `**/` that does not end with a slash. `**/` begins after a
    # slash, and perhaps only a later position of the text has a slash after it.
    for number, next_gap in enumerate(gaps[1:]):
        if next_gap != _FOLDERS or parts[number] in ("", _FOLDERS) or texts[number][-1:] == "/":
            parts[number] = f"(?>{parts[number]})"
    return "".join(parts)


def _strip_wrapper(translated: str) -> str:
    return translated.removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z")


def _literal_folder(pattern: str) -> str:
    """Return the folder in which every match of a pattern lies.

    For a pattern without wildcards, return the pattern itself.
    """
    found = _WILD.search(pattern)
    return pattern if found is None else pattern[: found.start()].rpartition("/")[0]
