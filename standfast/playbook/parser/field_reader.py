"""Reader of one mapping of a playbook file, which collects all problems.

    fields = Fields(node, "step `lock`", notes)
    title = fields.text("title", required=True)
    fields.end()   # notes the unknown keys

Rules
- A key that was not read is unknown, and its problem names the closest known key.
- If a value has the wrong type, the reader notes a problem and returns the default. So the author
  sees all problems at once.
"""

import re
from collections.abc import Iterable
from typing import TypeVar

from standfast.errors import Problem
from standfast.playbook.parser.yaml_tree import Node
from standfast.records import Json
from standfast.suggestions import nearest_name

LONGEST_LINE = 200
LONGEST_TEXT = 10_000
MOST_ITEMS = 100  # items in a list, and steps in a playbook

T = TypeVar("T")

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def close_to(word: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: the closest known word, or all."""
    words = sorted(known)
    if near := nearest_name(word, words):
        return f"did you mean `{near}`?"
    if not words:
        return "there are none"
    if len(words) > 12:
        return f"choose one of {len(words)}, such as {', '.join(words[:8])}"
    return "choose one of: " + ", ".join(words)


class Notes:
    """The problems of one file, as they are found."""

    def __init__(self, file: str, problems: Iterable[Problem] = ()) -> None:
        self._file = file
        self._problems = list(problems)

    def add(self, line: int, message: str, hint: str = "") -> None:
        self._problems.append(Problem(file=self._file, line=line, message=message, hint=hint))

    @property
    def count(self) -> int:
        return len(self._problems)

    def in_line_order(self) -> list[Problem]:
        return sorted(self._problems, key=lambda problem: problem.line)


class Fields:
    """A mapping that is read key by key.

    `end` then notes a problem for each key that was not read.
    """

    def __init__(self, node: Node, subject: str, notes: Notes) -> None:
        self.line = node.line
        self._what = subject
        self._notes = notes
        self._taken: set[str] = set()
        self._nodes: dict[str, Node] = {}
        if isinstance(node.value, dict):
            self._nodes = node.value
        else:
            notes.add(node.line, f"{subject} must be a mapping of keys to values")

    def has(self, key: str) -> bool:
        return key in self._nodes

    def line_of(self, key: str) -> int:
        return self._nodes[key].line if key in self._nodes else self.line

    def lines(self) -> dict[str, int]:
        return {key: node.line for key, node in self._nodes.items()}

    def node(self, key: str) -> Node | None:
        self._taken.add(key)
        return self._nodes.get(key)

    def text(self, key: str, *, required: bool = False, longest: int = LONGEST_LINE) -> str:
        """Read a text without surrounding space; one line by default."""
        node = self.node(key)
        if node is None:
            if required:
                self._notes.add(self.line, f"{self._what} has no `{key}`")
            return ""
        if not isinstance(node.value, str):
            return self._misfit(node, key, "a text", "", hint="quote it")
        text = node.value.strip()
        if not text and required:
            self._notes.add(node.line, f"`{key}` of {self._what} is empty")
        if len(text) > longest:
            self._notes.add(node.line, f"`{key}` has more than {longest:,} characters")
        if longest == LONGEST_LINE and "\n" in text:
            self._notes.add(node.line, f"`{key}` must be one line", "fold it with `>-`")
        return text

    def number(self, key: str, default: int, low: int, high: int) -> int:
        node = self.node(key)
        if node is None:
            return default
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            return self._misfit(node, key, f"a whole number from {low} to {high}", default)
        return value

    def flag(self, key: str) -> bool:
        node = self.node(key)
        if node is None:
            return False
        if not isinstance(node.value, bool):
            return self._misfit(node, key, "true or false", False)
        return node.value

    def choice(self, key: str, options: Iterable[str], default: str) -> str:
        node = self.node(key)
        if node is None:
            return default
        known = list(options)
        if not isinstance(node.value, str) or node.value not in known:
            hint = close_to(str(node.plain()), known)
            return self._misfit(node, key, f"one of {', '.join(known)}", default, hint=hint)
        return node.value

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of different texts; read a single text as a list of one."""
        node = self.node(key)
        if node is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node]
        if len(items) > MOST_ITEMS:
            return self._misfit(node, key, f"a list of at most {MOST_ITEMS} texts", ())
        found: dict[str, None] = {}
        for item in items:
            if not isinstance(item.value, str) or not item.value.strip():
                return self._misfit(node, key, "a list of texts", (), hint="quote each")
            if item.value.strip() in found:
                self._notes.add(item.line, f"`{key}` names `{item.value.strip()}` twice")
            else:
                found[item.value.strip()] = None
        return tuple(found)

    def duration_seconds(self, key: str) -> int:
        """Read a length of time such as `30m`, from one second to 30 days."""
        node = self.node(key)
        text = node.value if node else None
        match = re.fullmatch(r"([0-9]{1,7}) ?([smhd])", text) if isinstance(text, str) else None
        seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else 0
        if node and not 1 <= seconds <= 30 * 86400:
            return self._misfit(
                node, key, "a length of time up to 30d", 0, hint="as in 45s, 30m, 2h"
            )
        return seconds

    def plain(self, key: str) -> Json:
        node = self.node(key)
        return node.plain() if node else None

    def mapping(self, key: str) -> dict[str, Node]:
        """Read a mapping of names to any values."""
        node = self.node(key)
        if node is None:
            return {}
        if not isinstance(node.value, dict):
            empty: dict[str, Node] = {}
            return self._misfit(node, key, "a mapping of names to values", empty)
        return node.value

    def end(self, *, elsewhere: Iterable[str] = ()) -> None:
        """Note a problem for every key that was not read.

        `elsewhere` has the keys of other kinds of steps; the message for such a key differs.
        """
        for key, node in self._nodes.items():
            if key in self._taken:
                continue
            if key in elsewhere:
                self._notes.add(node.line, f"`{key}` does not belong to {self._what}")
            else:
                message = f"{self._what} has no key `{key}`"
                self._notes.add(node.line, message, close_to(key, self._taken))

    def _misfit(self, node: Node, key: str, wanted: str, default: T, *, hint: str = "") -> T:
        self._notes.add(node.line, f"`{key}` of {self._what} must be {wanted}", hint)
        return default
