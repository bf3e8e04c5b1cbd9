"""One view of the ledger's database, by the driver alone: for who only looks, and in a hurry.

Rules
- Read only, one consistent state, nothing written and no lock taken.
- Nothing but a driver is imported: SQLAlchemy takes longer than the look.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

from standfast.errors import ConfigurationError, ExtraMissing, Unavailable
from standfast.ledger.database.postgresql_errors import lacks_permission, trouble
from standfast.ledger.database.sqlite_file import (
    HEAD,
    NO_LEDGER,
    connected_to_read,
    is_disk_full,
    refused,
    schema_mismatch_error,
    unavailable,
    unwritten,
)

_BUSY_SECONDS = 5


class Cursor(Protocol):
    """What both drivers' cursors have in common (PEP 249)."""

    def execute(self, statement: str, /) -> object: ...

    def fetchall(self) -> Sequence[tuple[Any, ...]]: ...


def rows(cursor: Cursor, statement: str) -> Sequence[tuple[Any, ...]]:
    cursor.execute(statement)
    return cursor.fetchall()


@contextmanager
def open_read_view(url: str, password: str | None) -> Iterator[Cursor]:
    """Read one consistent state; ConfigurationError where there is no ledger of this schema."""
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with _sqlite(Path(path)) as cursor:
            _refuse_other_schema(cursor, path)
            yield cursor
    else:
        with _postgresql(url, password) as cursor:
            _refuse_other_schema(cursor, url.rpartition("/")[2])
            yield cursor


def _refuse_other_schema(cursor: Cursor, place: str) -> None:
    for (version,) in rows(cursor, "SELECT version_num FROM alembic_version"):
        if version != HEAD:
            raise schema_mismatch_error(place, version, HEAD)


@contextmanager
def _sqlite(path: Path) -> Iterator[Cursor]:
    if not path.is_file():
        raise ConfigurationError(f"there is no ledger at {path}: {NO_LEDGER}")
    try:
        with closing(connected_to_read(str(path), _BUSY_SECONDS)) as connection:
            connection.execute("BEGIN")
            with unwritten(connection):
                yield connection.cursor()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise ConfigurationError(f"{path} is no ledger of this version: {NO_LEDGER}") from None
        if is_disk_full(str(error)):
            raise unavailable(str(path), str(error), type(error).__name__) from None
        raise Unavailable(
            f"the ledger {path} cannot be read now: {error}; see that it is yours to read"
        ) from None
    except sqlite3.DatabaseError as error:
        raise refused(getattr(error, "sqlite_errorname", type(error).__name__)) from None


@contextmanager
def _postgresql(url: str, password: str | None) -> Iterator[Cursor]:
    try:
        import psycopg
    except ImportError:
        raise ExtraMissing(
            "a ledger on PostgreSQL needs the extra: "
            "pip install -r requirements/extras/postgresql.txt"
        ) from None
    scheme, _, rest = url.partition("://")
    conninfo = f"{scheme.partition('+')[0]}://{rest}"
    try:
        with (
            psycopg.connect(conninfo, password=password, connect_timeout=_BUSY_SECONDS) as open_,
            open_.cursor() as cursor,
        ):
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield cast("Cursor", cursor)
    except psycopg.errors.UndefinedTable:
        raise ConfigurationError(
            f"there is no ledger of this version in that database: {NO_LEDGER}"
        ) from None
    except psycopg.errors.InsufficientPrivilege:
        raise lacks_permission(writes=False) from None
    except psycopg.Error as error:
        raise Unavailable(trouble(error.sqlstate, str(error))) from None
