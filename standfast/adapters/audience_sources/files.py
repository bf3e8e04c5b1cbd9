"""Audiences and suppression lists from CSV files and SQLite queries.

An audience is the list of recipients of a notice (a message to the people that an incident
concerns). A suppression list names people that must never be contacted.

Rules
- A row that cannot be read is rejected, and the other rows are read. If a quote is never closed,
  the rows cannot be separated, and a customer's text could be read as a row. So the file is refused
  as a whole.
- A suppression list is read completely or not at all. Otherwise a person whose entry cannot be read
  would be contacted.
- Files are opened for reading. The query runs under an authorizer that permits reading only, and is
  cancelled after a time limit.
"""

import csv
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from standfast.errors import ConfigurationError, Unavailable
from standfast.notices.audience import NO_RULES, Audience, gather
from standfast.notices.audience_rows import FLAG_COLUMNS, POSTAL_COLUMNS, Row, Rules, check_columns
from standfast.notices.mail_addresses import addresses_in
from standfast.notices.plain_text import one_line
from standfast.retry_rules import AUDIENCE_SECONDS
from standfast.spreadsheet_csv import CsvRows

Done = TypeVar("Done")
# Headers that are read as our fields. `address` is left out: in files of other programs, it is
# mostly a postal address.
_OUR_NAMES = ("key", "why", *FLAG_COLUMNS, *POSTAL_COLUMNS)
_READS = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)


def csv_audience(
    path: Path, columns: Mapping[str, str], rules: Rules = NO_RULES, *, is_strict: bool = True
) -> Audience:
    """Read a CSV file with a header; `columns` maps field names to columns.

    `spreadsheet_csv` defines encodings and separators. If `is_strict` is False, the file needs only
    the column of the address, or `postal_1`. Then each column whose header is a field name, such as
    `is_minor`, is read too. Raises ConfigurationError if the file, a column or a closing quote is
    missing.
    """
    check_columns(columns)
    with _csv(path) as (reader, header):
        if not is_strict:
            columns = {**columns, **{name: name for name in _OUR_NAMES if name in header}}
        is_by_post = not is_strict and "postal_1" in header
        if twice := sorted({name for name in columns.values() if header.count(name) > 1}):
            raise ConfigurationError(
                f"{path}: the first line has the column {', '.join(twice)} more than once. Rename "
                "the duplicates."
            )
        needed = columns.values() if is_strict else [columns["address"]] * (not is_by_post)
        missing = sorted(set(needed) - set(header))
        if missing:
            # The header is not shown: in a file without a header, this line is the first customer.
            raise ConfigurationError(
                f"{path}: the first line has no column {', '.join(missing)}. Name its columns, as "
                "in: "
                'columns = { address = "email" }'
            )
        places = {
            ours: header.index(theirs) for ours, theirs in columns.items() if theirs in header
        }
        return gather(_csv_rows(reader, len(header), places), rules)


def read_suppressed(path: Path) -> dict[str, str]:
    """Read a suppression list: on each line an address or key, and a reason.

    The first line is a heading. Raises ConfigurationError if the file or an entry cannot be read:
    then nobody may be contacted.
    """
    with _csv(path) as (reader, header):
        if header and any(addresses_in(one_line(header[0]))):
            raise ConfigurationError(
                f"{path}: the first line is an entry, not a heading. Add a heading such as "
                "`address,reason`."
            )
        rows = (tuple(row) for row in reader if any(row))
        return suppressed_rows(rows, f"in {path}, below its heading,")


def sqlite_audience(
    path: Path,
    query: str,
    rules: Rules = NO_RULES,
    *,
    timeout_seconds: float = 60.0,
    monotonic: Callable[[], float] = time.monotonic,
) -> Audience:
    """Run a SELECT on SQLite; further columns are values for the notice.

    Raises ConfigurationError if the database or a column is missing, if the query is not a SELECT,
    or if it runs longer than `timeout_seconds`. Raises Unavailable while another program has locked
    the database.
    """
    with _run_query(path, query, timeout_seconds, monotonic) as (cursor, names):
        check_columns(names)
        return gather(text_rows(names, cursor), rules)


def sqlite_suppressed(path: Path, query: str, *, timeout_seconds: float = 60.0) -> dict[str, str]:
    """Return the suppression list of a query; raises as `sqlite_audience`."""
    with _run_query(path, query, timeout_seconds, time.monotonic) as (cursor, _):
        return suppressed_rows(cursor)


def suppressed_rows(
    rows: Iterable[tuple[object, ...]], where: str = "of the query"
) -> dict[str, str]:
    """Return a suppression list from rows: reasons by address or key.

    Raises ConfigurationError if an entry is not text, because it could match anybody.
    """
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        entry = row[0] if row else None
        if isinstance(entry, bytes) or not _is_utf8(_text(entry)):
            raise ConfigurationError(
                f"suppression list: row {number} {where} is not UTF-8 text. Correct it. Until "
                "then, nobody is notified."
            )
        if entry is not None:
            found[_text(entry)] = _text(row[1]) if len(row) > 1 else ""
    return found


def text_rows(names: list[str], rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[int, Row]]:
    """Yield a query's rows as text, numbered from 1; reject rows with bytes."""
    for number, values in enumerate(rows, start=1):
        blobs = [
            name for name, value in zip(names, values, strict=True) if isinstance(value, bytes)
        ]
        if blobs:
            yield number, f"column {blobs[0]!r} is not text"
        else:
            yield number, {n: _text(v) for n, v in zip(names, values, strict=True)}


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


@contextmanager
def _csv(path: Path) -> Iterator[tuple[Iterator[list[str]], list[str]]]:
    """Open a CSV file; yield its header and its rows."""
    rows: CsvRows | None = None
    try:
        # A byte that is not UTF-8 becomes a lone surrogate, which rejects only its own row.
        with path.open("rb") as file:
            rows = CsvRows(file, errors="surrogateescape")
            yield rows, next(rows, [])
    except OSError as error:
        raise ConfigurationError(
            f"audience {path}: cannot be read, {error.strerror}. Check its path and mode."
        ) from error
    except UnicodeDecodeError:  # UTF-16 only: the UTF-8 decoder accepts every byte
        raise ConfigurationError(
            f"{path}: begins as UTF-16, but is not valid UTF-16. Export it again."
        ) from None  # the cause contains text of the file
    except csv.Error as error:
        line = rows.line if rows else 1
        raise ConfigurationError(
            f"{path}: a quote near line {line} is not closed or not doubled. Export it again."
        ) from error


def _csv_rows(
    reader: Iterator[list[str]], width: int, places: Mapping[str, int]
) -> Iterator[tuple[int, Row]]:
    for number, cells in enumerate(reader, start=2):
        if not cells:
            continue  # an empty line is not a row, as in a spreadsheet
        if len(cells) != width:
            yield number, f"has {len(cells)} fields where the header has {width}"
        else:
            yield number, {ours: cells[place] for ours, place in places.items()}


@contextmanager
def _run_query(
    path: Path, query: str, timeout_seconds: float, monotonic: Callable[[], float]
) -> Iterator[tuple[Iterator[tuple[object, ...]], list[str]]]:
    """Run a read-only query; yield its rows and the names of its columns.

    The time limit applies only to the work of the database, because the caller's processing of a
    long audience may last longer.
    """
    watch = _Watch(timeout_seconds, monotonic)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10.0)
    except sqlite3.Error as error:
        raise ConfigurationError(f"audience {path}: cannot be opened. Correct `path`.") from error
    try:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.set_authorizer(_only_reads)
        connection.set_progress_handler(watch.is_over, 10_000)
        cursor = watch.counted(lambda: connection.execute(query))
        if cursor.description is None:  # a comment would look like an empty audience
            raise ConfigurationError(
                f"audience {path}: the query is only a comment. Write one SELECT."
            )
        yield watch.rows(cursor), [column[0] for column in cursor.description]
    except (sqlite3.Error, sqlite3.Warning) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise Unavailable(
                f"audience {path}: locked by another program", retry_after_seconds=AUDIENCE_SECONDS
            ) from error
        why_not = getattr(error, "sqlite_errorname", type(error).__name__)
        raise ConfigurationError(
            f"audience {path}: the query fails ({why_not}). Write one SELECT that ends within "
            f"{timeout_seconds:g} seconds."
        ) from error
    finally:
        connection.close()


class _Watch:
    """The remaining part of a time limit."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._left = seconds
        self._monotonic = monotonic
        self._began = monotonic()

    def is_over(self) -> bool:
        return self._monotonic() - self._began > self._left

    def counted(self, act: Callable[[], Done]) -> Done:
        self._began = self._monotonic()
        try:
            return act()
        finally:
            self._left -= self._monotonic() - self._began

    def rows(self, cursor: sqlite3.Cursor) -> Iterator[tuple[object, ...]]:
        while (row := self.counted(cursor.fetchone)) is not None:
            yield row


def _only_reads(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY
