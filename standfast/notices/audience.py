"""Audiences: who is told, read from a file or a query, each row accounted for.

Owns reading, checking and counting. Leaves to the ledger how people are kept (encrypted, under a
key per incident) and to `prepared` what is written to them.

Rules
- rows = recipients + rejected + repeated, always: nobody is dropped without a line that says why.
- One mailbox is told once: of two rows with the same address (see `addresses`) the first counts.
- Only the columns that the configuration names are read; the rest of a customer's record stays
  where it is.
- A row that cannot be read alone is rejected alone. A file whose rows cannot be told apart (a quote
  that never closes) is refused whole, since the next row might be a customer's text.
- Both sources are opened to read. The query runs under an authorizer that allows reading only, and
  is cut after a time.
- Reasons name rows and columns, never what stands in them.
"""

import csv
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from standfast.errors import ConfigurationError, Unavailable
from standfast.notices.addresses import parse_address
from standfast.notices.plain import one_line
from standfast.notices.prepared import LONGEST_VALUE

KNOWN_COLUMNS = ("key", "address", "name", "language", "why")
LARGEST_FIELD = 64 * 1024 * 1024  # characters; beyond it a CSV file is refused

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_READS = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)

Row: TypeAlias = "Mapping[str, str] | str"  # the values by our names, or why it cannot be read


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """One person who is told. All of it is personal."""

    key: str  # who it is in the source, which need not be unique; else the address
    address: str  # its domain as A-labels
    name: str = ""
    language: str = ""  # as the source has it; empty when it states none
    why: str = ""  # why this person is told
    slots: Mapping[str, str] = field(default_factory=dict)  # further columns

    def values(self) -> Mapping[str, str]:
        """Give what `Prepared.fill` takes: everything a template may call `recipient.…`."""
        return {
            **self.slots,
            "name": self.name,
            "address": self.address,
            "language": self.language,
            "why": self.why,
        }


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A row that tells nobody. Rows count from 1; in a CSV file the header is row 1."""

    row_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Audience:
    """Everyone a source named, in its order."""

    recipients: tuple[Recipient, ...]
    rejected: tuple[Rejected, ...] = ()  # to be told in another way; each needs a person's eye
    repeated: tuple[Rejected, ...] = ()  # the same mailbox as an earlier row

    @property
    def rows(self) -> int:
        return len(self.recipients) + len(self.rejected) + len(self.repeated)


def csv_audience(
    path: Path,
    columns: Mapping[str, str],
    *,
    is_strict: bool = True,
    language: str = "",
    why: str = "",
) -> Audience:
    """Read a CSV file with a header; `columns` maps our names to the file's.

    UTF-8, with commas, semicolons or tabs, whichever the header has most of. `language` and `why`
    stand in for empty ones. Unless strict, only the address has to be among the columns. Raises
    ConfigurationError when the file, a column or a closing quote is missing.
    """
    _check_columns(columns)
    # The limit is the process's; ours is only ever higher, so nobody else's reading breaks.
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_FIELD))
    try:
        # A byte that is no UTF-8 becomes half a surrogate pair, and rejects its own row only.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            header_line = stream.readline(LARGEST_FIELD)
            stream.seek(0)
            delimiter = max(",;\t", key=header_line.count)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            header = next(reader, [])
            needed = columns.values() if is_strict else [columns["address"]]
            missing = sorted(set(needed) - set(header))
            if missing:
                # The header is not shown: in a file without one, it is the first customer.
                raise ConfigurationError(
                    f"{path} has no column {', '.join(missing)} in its first line; name those "
                    'that it has, as in: columns = { address = "email" }'
                )
            places = {
                ours: header.index(theirs) for ours, theirs in columns.items() if theirs in header
            }
            return _gather(_csv_rows(reader, len(header), places), language, why)
    except OSError as error:
        raise ConfigurationError(f"the audience {path} cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise ConfigurationError(
            f"{path} cannot be told apart into rows near line {reader.line_num}: a quote is not "
            "closed or not doubled; export it again"
        ) from error


def sqlite_audience(
    path: Path,
    query: str,
    *,
    language: str = "",
    why: str = "",
    timeout_seconds: float = 60.0,
    monotonic: Callable[[], float] = time.monotonic,
) -> Audience:
    """Run one SELECT on a SQLite database; its columns carry our names, others become slots.

    Raises ConfigurationError when the database or a column is missing, when the query is no SELECT,
    and when it runs longer than `timeout_seconds`; Unavailable while another program has it locked.
    """
    deadline = monotonic() + timeout_seconds
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10.0)
    except sqlite3.Error as error:
        raise ConfigurationError(f"the audience {path} cannot be opened; mend `path`") from error
    try:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.set_authorizer(_only_reads)
        connection.set_progress_handler(lambda: monotonic() > deadline, 10_000)
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description or ()]
        _check_columns(dict.fromkeys(names, ""))
        if len(set(names)) < len(names):
            raise ConfigurationError("the audience's query names a column twice; use AS")
        return _gather(_sqlite_rows(cursor, names), language, why)
    except (sqlite3.Error, sqlite3.Warning) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise Unavailable(
                f"the audience {path} is locked by another program", retry_after_seconds=5.0
            ) from error
        why_not = getattr(error, "sqlite_errorname", type(error).__name__)
        raise ConfigurationError(
            f"the audience's query on {path} fails ({why_not}); it must be one SELECT that ends "
            f"within {timeout_seconds:g} seconds"
        ) from error
    finally:
        connection.close()


def _check_columns(names: Iterable[str]) -> None:
    names = list(names)
    if "address" not in names:
        raise ConfigurationError("an audience needs a column `address`; name it")
    if wrong := [name for name in names if not _COLUMN.fullmatch(name)]:
        raise ConfigurationError(
            "an audience's columns are named in small letters, digits and _, not "
            f"{', '.join(wrong)[:200]}"
        )


def _csv_rows(
    reader: Iterator[list[str]], width: int, places: Mapping[str, int]
) -> Iterator[tuple[int, Row]]:
    for number, cells in enumerate(reader, start=2):
        if not cells:
            continue  # an empty line is no row, here as in a spreadsheet
        if len(cells) != width:
            yield number, f"has {len(cells)} fields where the header has {width}"
        else:
            yield number, {ours: cells[place] for ours, place in places.items()}


def _sqlite_rows(cursor: sqlite3.Cursor, names: list[str]) -> Iterator[tuple[int, Row]]:
    for number, values in enumerate(cursor, start=1):
        blobs = [
            name for name, value in zip(names, values, strict=True) if isinstance(value, bytes)
        ]
        if blobs:
            yield number, f"column {blobs[0]!r} is not text"
        else:
            yield (
                number,
                {n: "" if v is None else str(v) for n, v in zip(names, values, strict=True)},
            )


def _only_reads(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _gather(rows: Iterable[tuple[int, Row]], language: str, why: str) -> Audience:
    recipients: list[Recipient] = []
    rejected: list[Rejected] = []
    repeated: list[Rejected] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        try:
            mailbox, recipient = _recipient(row, language, why)
        except ValueError as error:
            rejected.append(Rejected(row_number=number, reason=str(error)))
            continue
        first = seen.setdefault(mailbox, number)
        if first != number:
            repeated.append(Rejected(row_number=number, reason=f"same address as row {first}"))
        else:
            recipients.append(recipient)
    return Audience(
        recipients=tuple(recipients), rejected=tuple(rejected), repeated=tuple(repeated)
    )


def _recipient(row: Row, language: str, why: str) -> tuple[str, Recipient]:
    """Give the mailbox's key and the recipient; raise ValueError with the reason."""
    if isinstance(row, str):
        raise ValueError(row)
    address = parse_address(row["address"])
    values = {name: _value(name, raw) for name, raw in row.items() if name != "address"}
    spoken = values.get("language", "")
    return address.key, Recipient(
        key=values.get("key") or address.key,
        address=address.text,
        name=values.get("name", ""),
        language=spoken.replace("_", "-") if _LANGUAGE.fullmatch(spoken) else language,
        why=values.get("why") or why,
        slots={name: value for name, value in values.items() if name not in KNOWN_COLUMNS},
    )


def _value(name: str, raw: str) -> str:
    if len(raw) > 4 * LONGEST_VALUE:  # before looking at each character of it
        raise ValueError(f"column {name!r} is longer than {LONGEST_VALUE} characters")
    if not raw.isascii() and any("\ud800" <= character <= "\udfff" for character in raw):
        raise ValueError(f"column {name!r} is not UTF-8")
    value = one_line(raw)
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"column {name!r} is longer than {LONGEST_VALUE} characters")
    return value
