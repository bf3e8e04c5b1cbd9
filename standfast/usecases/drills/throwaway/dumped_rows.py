"""Row counts of the tables in a dump, counted in the text of the dump.

- Each row is one line, because the dumps of PostgreSQL and MariaDB escape line breaks in values.
- Names of tables are quoted as in the dump, so that a query can contain them unchanged.
"""

import re
from collections.abc import Iterable
from itertools import chain, takewhile

from backup.sources.client_programs import ProgramFailed

_COPY = re.compile(rb'COPY ((?:"(?:[^"]|"")+"|[\w.])+) (?:\(.*\))? FROM stdin;\n')
_COPY_END = b"\\.\n"
_INSERT = re.compile(  # if the statement lists the columns, its first row is in the same line
    rb"INSERT (?:IGNORE )?INTO (`(?:[^`]|``)+`) (?:\((?:`(?:[^`]|``)+`|\w+|, )+\) )?"
    rb"VALUES(?: (\(.*))?\n"
)
_TEXT = re.compile(rb"'(?:[^'\\]|\\.)*'")
_NEXT_ROW = b"),("
_INSERT_ENDS = (b");\n", b");")
_UNKNOWN = "the program that wrote the dump does not write one row in each line"
_CODE, _CODE_END = b"DELIMITER ;;\n", b"DELIMITER ;\n"  # around routines, triggers and events


def copied_rows(lines: Iterable[bytes]) -> dict[str, int]:
    """Count the rows in the output of `pg_restore --data-only`, by table.

    Raise `ProgramFailed` if a line is not as expected.
    """
    rest = iter(lines)
    rows: dict[str, int] = {}
    for line in rest:
        if line.startswith(b"COPY "):
            table = _table(_match(_COPY, line))
            rows[table] = rows.get(table, 0) + sum(
                1 for _ in takewhile(lambda row: row != _COPY_END, rest)
            )
    return rows


def inserted_rows(lines: Iterable[bytes]) -> dict[str, int]:
    """Count the rows in the output of `mariadb-dump`, by table.

    Raise `ProgramFailed` if a line is not as expected: old programs write all rows in one line.
    """
    rest = iter(lines)
    rows: dict[str, int] = {}
    for line in rest:
        if line == _CODE:
            for _ in takewhile(lambda code: code != _CODE_END, rest):
                pass
        elif line.startswith(b"INSERT "):
            statement = _match(_INSERT, line)
            first = statement.group(2)
            if first and _NEXT_ROW in _TEXT.sub(b"", first):
                raise ProgramFailed(_UNKNOWN)
            table = _table(statement)
            rows[table] = rows.get(table, 0) + _count_to_end(chain([first] if first else [], rest))
    return rows


def _count_to_end(lines: Iterable[bytes]) -> int:
    for number, row in enumerate(lines, 1):
        if row.endswith(_INSERT_ENDS):
            return number
    raise ProgramFailed(_UNKNOWN)


def _match(statement: re.Pattern[bytes], line: bytes) -> re.Match[bytes]:
    found = statement.fullmatch(line)
    if found is None:
        raise ProgramFailed(_UNKNOWN)
    return found


def _table(statement: re.Match[bytes]) -> str:
    return statement.group(1).decode("utf-8", "replace")
