"""Read-only view of the ledger (the database), without SQLAlchemy.

Rules
- Nothing is written and no lock is taken.
- Only the database driver is imported: importing SQLAlchemy takes longer than the query for
  `status`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from standfast.errors import ExtraMissing, Unavailable
from standfast.ledger.database.postgresql_errors import error_message, lacks_permission
from standfast.ledger.database.sqlite_file import (
    HEAD,
    connected_to_read,
    is_disk_full,
    ledger_missing_error,
    not_a_ledger_error,
    refuse_concurrent_write,
    refused,
    schema_mismatch_error,
    unavailable,
)

_BUSY_SECONDS = 5


class Cursor(Protocol):
    """The common part of both drivers' cursors (PEP 249)."""

    def execute(self, statement: str, /) -> object: ...

    def fetchall(self) -> Sequence[tuple[Any, ...]]: ...


def rows(cursor: Cursor, statement: str) -> Sequence[tuple[Any, ...]]:
    """Return the rows of a statement."""
    cursor.execute(statement)
    return cursor.fetchall()


@contextmanager
def open_read_view(url: str) -> Iterator[Cursor]:
    """Open a transaction in which all queries read the same state.

    Raises ConfigurationError if there is no ledger with the present schema.
    """
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with _sqlite(Path(path)) as cursor:
            _refuse_other_schema(cursor, path)
            yield cursor
    else:
        with _postgresql(url) as cursor:
            _refuse_other_schema(cursor, url.rpartition("/")[2])
            yield cursor


def _refuse_other_schema(cursor: Cursor, database: str) -> None:
    for (version,) in rows(cursor, "SELECT version_num FROM alembic_version"):
        if version != HEAD:
            raise schema_mismatch_error(database, version, HEAD)


@contextmanager
def _sqlite(path: Path) -> Iterator[Cursor]:
    if not path.is_file():
        raise ledger_missing_error(str(path))
    try:
        with closing(connected_to_read(str(path), _BUSY_SECONDS)) as connection:
            connection.execute("BEGIN")
            with refuse_concurrent_write(connection):
                yield connection.cursor()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise not_a_ledger_error(str(path)) from None
        if is_disk_full(str(error)):
            raise unavailable(str(path), str(error), type(error).__name__) from None
        raise Unavailable(
            f"ledger {path}: cannot be read now ({error}). Check that this user may read it."
        ) from None
    except sqlite3.DatabaseError as error:
        raise refused(getattr(error, "sqlite_errorname", type(error).__name__)) from None


@contextmanager
def _postgresql(url: str) -> Iterator[Cursor]:
    try:
        import psycopg  # the driver is an optional dependency
    except ImportError:
        raise ExtraMissing(
            "a ledger on PostgreSQL: its driver is not installed. "
            "Run `pip install -r requirements/extras/postgresql.txt`."
        ) from None
    scheme, _, address = url.partition("://")
    conninfo = f"{scheme.partition('+')[0]}://{address}"
    try:
        with (
            psycopg.connect(conninfo, connect_timeout=_BUSY_SECONDS) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield cast("Cursor", cursor)
    except psycopg.errors.UndefinedTable:
        raise not_a_ledger_error("that database") from None
    except psycopg.errors.InsufficientPrivilege:
        raise lacks_permission(writes=False) from None
    except psycopg.Error as error:
        raise Unavailable(error_message(error.sqlstate, str(error))) from None
