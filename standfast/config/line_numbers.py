"""Lines of TOML keys; a key that is missing has the line of its table.

The scanner finds the keys, tables, lists and inline tables of a text, and records the line of each.
`tomllib` has validated the text before.

Rules
- A path consists of names of keys and indexes of list items.
- A key that was not found has the line of the nearest table around it. A key outside all tables has
  line 1.
"""

import re
import tomllib

from standfast.config.toml_writer import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\r\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every key and list item of valid TOML."""
    return _Scanner(text).scan()


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int:
    """Return the line of a path, or of the nearest table around it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.items: dict[KeyPath, int] = {}  # index of the last item of each array of tables

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._blank()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._blank()
        return self.lines

    def _header(self) -> KeyPath:
        is_item = self.text.startswith("[[", self.at)
        self._skip(2 if is_item else 1)
        names, start = self._key()
        self._blank()
        self._skip(2 if is_item else 1)
        path: KeyPath = ()
        for place, name in enumerate(names, 1):
            path = (*path, name)
            self._note(path, start)
            if is_item and place == len(names):
                self.items[path] = self.items.get(path, -1) + 1
            if path in self.items:
                path = (*path, self.items[path])
                self._note(path, start)
        return path

    def _pair(self, table: KeyPath) -> None:
        names, start = self._key()
        path = table
        for name in names:
            path = (*path, name)
            self._note(path, start)
        self._blank()
        self._skip(1)  # the equals sign
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._blank()
        opening = self.text[self.at]
        if opening == "[":
            self._list(path)
        elif opening == "{":
            self._inline_table(path)
        elif opening in "\"'":
            self._match(_STRING)
        else:
            self._match(_PLAIN)

    def _list(self, path: KeyPath) -> None:
        self._skip(1)
        self._blank()
        number = 0
        while self.text[self.at] != "]":
            self._note((*path, number), self.at)
            self._value((*path, number))
            number += 1
            self._comma()
        self._skip(1)

    def _inline_table(self, path: KeyPath) -> None:
        self._skip(1)
        self._blank()
        while self.text[self.at] != "}":
            self._pair(path)
            self._comma()
        self._skip(1)

    def _key(self) -> tuple[list[str], int]:
        self._blank()
        start = self.at
        names = [self._name()]
        while dot := _DOT.match(self.text, self.at):
            self.at = dot.end()
            names.append(self._name())
        return names, start

    def _name(self) -> str:
        raw = self._match(_KEY)
        # A quoted key may contain the escapes of a string; tomllib decodes them.
        return str(tomllib.loads(f"key = {raw}")["key"]) if raw[0] in "\"'" else raw

    def _comma(self) -> None:
        self._blank()
        if self.text[self.at] == ",":
            self._skip(1)
            self._blank()

    def _note(self, path: KeyPath, at: int) -> None:
        self.lines.setdefault(path, self.text.count("\n", 0, at) + 1)

    def _blank(self) -> None:
        self._match(_BLANK)

    def _skip(self, count: int) -> None:
        self.at += count

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"not TOML at character {self.at}")
        self.at = found.end()
        return found[0]
