"""Parser of limited YAML: a tree of plain values, each with its line.

    node, problems = read_tree(text, "lock.yaml")

Rules
- A file has at most 256 KiB, 12 levels and 20,000 values. The tree is built from the parser's
  events, without recursion, so that nested brackets cannot exhaust the stack.
- Anchors, aliases (a few lines can expand to gigabytes), tags, a second document, directives, merge
  keys and fractions (two programs print them differently) are not allowed.
- A key is a text and occurs once in a mapping.
- Line ends that only YAML recognises are not allowed: they could end a comment invisibly.
- Control characters, and characters that change the writing direction, are not allowed, even
  escaped: an approver of a step must see exactly the text that the approval covers.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode

from standfast.errors import PlaybookInvalid, Problem
from standfast.records import Json

LARGEST_FILE_BYTES = 256 * 1024
DEEPEST = 12
MOST_VALUES = 20_000
LONGEST_KEY = 100

_TAG = "tag:yaml.org,2002:"
_HIDDEN_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
_TURNS_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Value: TypeAlias = "bool | int | str | list[Node] | dict[str, Node] | None"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One value, with the line of its key or its own line."""

    value: Value
    line: int

    def plain(self) -> Json:
        """Return the value without its lines."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value


@dataclass
class _Open:
    """A list or mapping that has not ended yet."""

    line: int
    items: list[Node] | dict[str, Node]
    key: str | None = None  # in a mapping: the key whose value is read next
    key_line: int = 0

    @property
    def awaits_key(self) -> bool:
        return isinstance(self.items, dict) and self.key is None


class _Stop(Exception):
    """A problem after which the rest of the document is not read."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


def read_tree(text: str, file: str) -> tuple[Node, list[Problem]]:
    """Read a document; return its tree and the problems in it.

    Raise PlaybookInvalid if the document is too large, too deep or not YAML.
    """
    builder = _Builder(file)
    try:
        builder.build(text)
    except _Stop as stop:
        builder.note(stop.line, stop.message, stop.hint)
    if builder.root is None:
        raise PlaybookInvalid(builder.problems)
    return builder.root, builder.problems


class _Builder:
    """Builder of the tree of one document, from the parser's events."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._file = file
        self._open: list[_Open] = []
        self._yaml = YAML(typ="safe", pure=True)

    def note(self, line: int, message: str, hint: str = "") -> None:
        self.problems.append(Problem(file=self._file, line=line, message=message, hint=hint))

    def build(self, text: str) -> None:
        try:
            size_bytes = len(text.encode())
        except UnicodeEncodeError as error:
            raise _Stop(0, "the file is not UTF-8 text") from error
        if size_bytes > LARGEST_FILE_BYTES:
            raise _Stop(0, f"the file is larger than {LARGEST_FILE_BYTES // 1024} KiB")
        if found := _HIDDEN_LINE_ENDS.search(text):
            line = text.count("\n", 0, found.start()) + 1
            message = f"the character U+{ord(found[0]):04X} is not allowed anywhere"
            raise _Stop(line, message, "YAML begins a new line there, and editors show none")
        for count, event in enumerate(self._events(text)):
            line = event.start_mark.line + 1
            if count > MOST_VALUES:
                raise _Stop(line, f"the file has more than {MOST_VALUES:,} values")
            self._take(event, line)
        if self.root is None:
            raise _Stop(0, "the file is empty")

    def _events(self, text: str) -> Iterator[Event]:
        try:
            yield from self._yaml.parse(text)
        except MarkedYAMLError as error:
            self.root = None
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 0
            raise _Stop(line, f"this is not YAML: {error.problem or error.context}") from error
        except (YAMLError, ValueError, OverflowError) as error:
            # The file has forbidden characters or invalid escapes. The parser's own message quotes
            # them, so it is not shown.
            self.root = None
            raise _Stop(0, "the file has characters that YAML does not allow") from error

    def _take(self, event: Event, line: int) -> None:
        match event:
            case DocumentStartEvent():
                if self.root is not None:
                    raise _Stop(line, "a second document begins here", "one playbook per file")
                if event.version or event.tags:
                    self.note(line, "directives (%) are not allowed", "remove the line")
            case AliasEvent():
                self.note(line, "aliases (*name) are not allowed", "write the value again")
                self._place("*", line)
            case MappingStartEvent() | SequenceStartEvent():
                self._note_extras(event, line)
                if len(self._open) >= DEEPEST:
                    raise _Stop(line, f"more than {DEEPEST} levels deep")
                if self._open and self._open[-1].awaits_key:
                    raise _Stop(line, "a key must be a text")
                is_mapping = isinstance(event, MappingStartEvent)
                self._open.append(_Open(line=line, items={} if is_mapping else []))
            case MappingEndEvent() | SequenceEndEvent():
                ended = self._open.pop()
                self._place(ended.items, ended.line)
            case ScalarEvent():
                self._note_extras(event, line)
                self._place(self._scalar(event, line), line)

    def _note_extras(
        self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, line: int
    ) -> None:
        if event.anchor is not None:
            self.note(line, "anchors (&name) are not allowed", "write the value again")
        if event.ctag is not None:
            self.note(line, "tags (!name) are not allowed", "remove it; quote what must be text")

    def _place(self, value: Value, line: int) -> None:
        """Add a value as the root, an item of a list, a key or a key's value."""
        if not self._open:
            self.root = Node(value=value, line=line)
            return
        above = self._open[-1]
        if isinstance(above.items, list):
            above.items.append(Node(value=value, line=line))
        elif above.key is None:
            above.key, above.key_line = self._key(value, line), line
            if first := above.items.get(above.key):
                message = f"`{above.key}` is repeated; first used in line {first.line}"
                self.note(line, message, "remove one of the two, or name it differently")
        else:
            above.items.setdefault(above.key, Node(value=value, line=above.key_line))
            above.key = None

    def _key(self, value: Value, line: int) -> str:
        if not isinstance(value, str) or not value:
            raise _Stop(line, "a key must be a text", "quote it")
        if len(value) > LONGEST_KEY:
            raise _Stop(line, f"a key has at most {LONGEST_KEY} characters")
        return value

    def _scalar(self, event: ScalarEvent, line: int) -> bool | int | str | None:
        """Return the value of a scalar.

        Note a problem for a forbidden value, and return its text.
        """
        text: str = event.value
        tag = str(self._yaml.resolver.resolve(ScalarNode, text, event.implicit))
        match tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if re.fullmatch(r"[-+]?[0-9]{1,15}", text, re.ASCII):
                return int(text)
            case "int":
                hint = "at most 15 digits and nothing else; quote it, if it is a text"
                self.note(line, "this number is not a plain decimal", hint)
            case "float":
                self.note(line, "fractions are not allowed", "quote it, if it is a text")
            case "merge" | "value":
                self.note(line, f"`{text}` is not allowed", "quote it, if it is a text")
        for letter in sorted({letter for letter in text if _is_hidden(letter)}):
            self.note(line, f"the character U+{ord(letter):04X} is not allowed in a text")
            text = text.replace(letter, "?")
        return text


def _is_hidden(letter: str) -> bool:
    if letter in "\n\t":
        return False
    return letter in _TURNS_DIRECTION or unicodedata.category(letter) in ("Cc", "Cs")
