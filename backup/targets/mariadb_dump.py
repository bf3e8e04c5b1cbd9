"""Stored code in a MariaDB dump: its definers, and obstacles to a load.

- Views, triggers, routines and events run with the rights of an account, their definer.
  `DumpCode.loadable` replaces each definer by the account that loads the dump, and records the
  original definer.
- This replacement is not a protection against a hostile dump. The limited rights of the loading
  account are the protection: if this module does not find a definer, the server refuses the load.
- Only the forms that `mariadb-dump` writes at the start of a line are found. A row cannot imitate
  them, because `mariadb-dump` escapes the line breaks in values.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from backup.targets import Stream

_HEAD_BYTES = 64 * 1024  # start of a dump, in which the server's version is searched
_WINDOW = 4096  # longer than the clause of a definer and the names after it
_VERSION = re.compile(r"(\d+)\.(\d+)\.\d+")
_DUMPED_FROM = re.compile(rb"^-- Server version\s+(\S+)", re.MULTILINE)
_CLAUSE = b"DEFINER="
_SEQUENCE = b" DEFAULT nextval(`"
_COLUMN = b"  `"  # start of a line in CREATE TABLE
_STARTS = (
    b"CREATE ",
    b"/*!50003 CREATE*/ /*!50017 ",
    b"/*!50003 CREATE*/ /*!50020 ",
    b"/*!50106 CREATE*/ /*!50117 ",
    b"/*!50013 ",
)
_LONGEST_START = max(map(len, _STARTS))
QUOTED = r"""(?:`(?:[^`]|``)*`|"(?:[^"]|"")*")"""  # with " in the mode ANSI_QUOTES
_NAME = rf"""(?:{QUOTED}|[^`"\s.]+)"""
_DEFINITION = re.compile(
    rf"""DEFINER=(?P<user>{QUOTED})@(?P<host>{QUOTED})(?:
    (?P<routine>[ ](?:AGGREGATE[ ])?(?P<kind>PROCEDURE|FUNCTION)[ ])(?P<routine_name>{QUOTED})
    |(?P<event>\*/[ ]/\*!50106[ ]EVENT[ ])(?P<event_name>{QUOTED})
    |(?P<view>[ ]SQL[ ]SECURITY[ ](?:DEFINER|INVOKER)[ ]\*/\n/\*!50001[ ]VIEW[ ])
     (?P<view_name>{QUOTED})
    |(?P<trigger>\*/[ ]/\*!50003[ ]TRIGGER\s+(?:IF\s+NOT\s+EXISTS\s+)?)
     (?:{_NAME}\s*\.\s*)?(?P<trigger_name>{_NAME})
     (?P<time>\s+(?:BEFORE|AFTER)\s+(?:INSERT|UPDATE|DELETE)\s+ON\s+)
     (?:{_NAME}\s*\.\s*)?(?P<table>{_NAME}\s)
    )""".encode(),
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, order=True)
class Account:
    """Account of a server."""

    user: str
    host: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}"


@dataclass(kw_only=True)
class DumpCode:
    """Stored code of one dump, complete after the dump was read to its end."""

    definers: dict[tuple[str, str], Account] = field(default_factory=dict)  # by kind and name
    obstacle: str = ""  # the first reason for which the dump cannot be loaded

    def loadable(self, stream: Stream) -> Iterator[bytes]:
        """Yield the dump with the loading account as the definer of all code.

        Record the definers of the dump, and obstacles.
        """
        block, is_line_start = b"", True
        for piece in stream():
            block += piece
            if len(block) > 2 * _WINDOW:
                done, block = self._rewrite(block, len(block) - _WINDOW, is_line_start)
                is_line_start = done.endswith(b"\n")
                yield done
        done, rest = self._rewrite(block, len(block), is_line_start)
        yield done + rest

    def _rewrite(self, block: bytes, limit: int, is_line_start: bool) -> tuple[bytes, bytes]:
        """Return the rewritten block before a limit, and the rest of the block."""
        pieces, done, found = [], 0, block.find(_CLAUSE)
        while 0 <= found < limit:
            start = self._line_start(block, found, is_line_start)
            if start is not None:
                if match := _DEFINITION.match(block, found):
                    pieces += [block[done:found], self._replacement(match)]
                    done = match.end()
                else:
                    self.obstacle = self.obstacle or (
                        "its dump has a view, trigger, routine or event in a form that a recovery"
                        " does not support, such as a package"
                    )
            found = block.find(_CLAUSE, found + 1)
        self._find_sequence(block, limit)
        # Keep the end of the block: a clause may begin there and continue in the next block.
        cut = max(done, limit if limit == len(block) else limit - _LONGEST_START - 1)
        return b"".join([*pieces, block[done:cut]]), block[cut:]

    def _line_start(self, block: bytes, found: int, is_line_start: bool) -> int | None:
        """Return the start of the line of a clause, if it creates stored code."""
        for start in _STARTS:
            first = found - len(start)
            if first < 0 or block[first:found] != start:
                continue
            if block[first - 1 : first] == b"\n" or (first == 0 and is_line_start):
                return first
        return None

    def _replacement(self, match: re.Match[bytes]) -> bytes:
        account = Account(user=_unquoted(match["user"]), host=_unquoted(match["host"]))
        for kind in ("view", "event", "trigger", "routine"):
            if match[kind] is not None:
                name = match[f"{kind}_name"]
                found = match["kind"].decode() if kind == "routine" else kind
                self.definers[found.upper(), _unquoted(name)] = account
                after = match[kind] + name
                # A trigger is loaded into another database: omit the name of its database.
                after += match["time"] + match["table"] if kind == "trigger" else b""
        return b"DEFINER=CURRENT_USER" + after

    def _find_sequence(self, block: bytes, limit: int) -> None:
        found = block.find(_SEQUENCE)
        while 0 <= found < limit:
            line = block[block.rfind(b"\n", 0, found) + 1 : found]
            if line.startswith(_COLUMN):
                self.obstacle = "a column of it takes its default from a sequence"
            found = block.find(_SEQUENCE, found + 1)


def dump_version(stream: Stream) -> str:
    """Return the server version that a dump names, or "" if it names none."""
    head = b""
    for piece in stream():
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    found = _DUMPED_FROM.search(head[:_HEAD_BYTES])
    return found.group(1).decode("utf-8", "replace") if found else ""


def parse_version(text: str) -> tuple[int, int]:
    """Return the first two numbers of a version, or (0, 0) if there are none."""
    found = _VERSION.search(text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def _unquoted(name: bytes) -> str:
    return unquoted(name.decode("utf-8", "replace"))


def unquoted(name: str) -> str:
    """Return a name without its quotes, if it has quotes."""
    quote = name[:1]
    return name[1:-1].replace(2 * quote, quote) if quote in ("`", '"') else name
