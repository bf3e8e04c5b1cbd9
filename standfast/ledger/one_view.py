"""One view of the ledger's database, by the driver alone: for who only looks, and in a hurry.

Rules
- Read only, one consistent state, nothing written and no lock taken.
- Nothing but a driver is imported: SQLAlchemy takes longer than the look.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import quote

from standfast.errors import ConfigurationError, ExtraMissing, Unavailable
from standfast.ledger.postgresql_words import trouble
from standfast.ledger.sqlite_file import (
    HEAD,
    NO_LEDGER,
    is_disk_full,
    other_schema,
    refused,
    unavailable,
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
def one_view(url: str, password: str | None) -> Iterator[Cursor]:
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
            raise other_schema(place, version, HEAD)


@contextmanager
def _sqlite(path: Path) -> Iterator[Cursor]:
    if not path.is_file():
        raise ConfigurationError(f"there is no ledger at {path}: {NO_LEDGER}")
    try:
        connection = _view(path)
        try:
            yield connection.cursor()
        finally:
            connection.close()
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


def _view(path: Path) -> sqlite3.Connection:
    """Begin to read; where SQLite lacks room, or the right, to share it, as a file at rest."""
    try:
        return _begun(path, "mode=ro")
    except sqlite3.OperationalError:
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size:
            raise  # the file alone would be behind, and between two states
        with suppress(sqlite3.Error):
            return _begun(path, "mode=ro&immutable=1")
        raise


def _begun(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{how}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # only this touches the file
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def _postgresql(url: str, password: str | None) -> Iterator[Cursor]:
    try:
        import psycopg
    except ImportError:
        raise ExtraMissing(
            "a ledger on PostgreSQL needs the extra: pip install 'standfast[postgresql]'"
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
    except psycopg.Error as error:
        raise Unavailable(trouble(error.sqlstate, str(error))) from None
