"""Connections by SQLAlchemy: SQLite or PostgreSQL, transactions, pool.

A ledger is the database of an installation (one configured Standfast).

Rules
- SQLite runs in WAL mode with `synchronous=FULL`: NORMAL loses committed changes on a power cut.
- A write transaction takes SQLite's lock at its start (`BEGIN IMMEDIATE`), so that it never has to
  be repeated. Before that, it waits in the write queue (`sqlite_file.write_queue`), so that every
  writer gets its turn.
- SQLite's driver begins no transaction by itself: every BEGIN is an explicit statement.
- Only the creation of a ledger creates its file. If the file was moved or replaced after a process
  opened it, that process no longer writes, because nobody would see changes of the moved file.
- A user with read permission only can read the ledger; a write raises OnlyReadable.
- A call ends with a time-out if the PostgreSQL server accepts the connection and then does not
  answer.
- No message contains the text of a database error, because that text may quote a row.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InvalidatePoolError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.pool import ConnectionPoolEntry

from standfast.errors import (
    ConfigurationError,
    ExtraMissing,
    StandfastError,
    Unavailable,
    UsageError,
)
from standfast.ledger.database.postgresql_errors import (
    NO_RIGHT,
    error_message,
    has_message,
    lacks_permission,
)
from standfast.ledger.database.postgresql_lock_waits import log_long_wait, session_name
from standfast.ledger.database.sqlite_file import (
    ReadOnly,
    begin_writing,
    connected,
    file_at,
    refuse_concurrent_write,
    refused,
    unavailable,
    write_queue,
)

_CONNECTIONS = 20  # connections that stay open; `serve` has fewer threads that query the ledger
TIMEOUT_OPTIONS: Mapping[str, int] = {  # options of libpq; `ledger.url` may override them
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # milliseconds
}
# Number of a PostgreSQL advisory lock; the audit chain, claims and recent locks use other numbers.
_PLANNING_LOCK = 7_236_116


def open_engine(url: str, *, makes_file: bool = False) -> Engine:
    """Return an engine for a SQLite or PostgreSQL URL; it connects later.

    A missing SQLite file is created only with `makes_file`.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "ledger.url: not a database address. Write sqlite:///ledger.db or postgresql://…."
        ) from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed.database, makes_file=makes_file)
    if parsed.get_backend_name() == "postgresql":
        try:
            return create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                connect_args={
                    name: value
                    for name, value in {
                        **TIMEOUT_OPTIONS,
                        "application_name": session_name(),
                    }.items()
                    if name not in parsed.query
                },
                pool_size=_CONNECTIONS,
                pool_pre_ping=True,
                hide_parameters=True,
            )
        except (ModuleNotFoundError, NoSuchModuleError):
            raise ExtraMissing(
                "a ledger on PostgreSQL: its driver is not installed. "
                "Run `pip install -r requirements/extras/postgresql.txt`."
            ) from None
    raise ConfigurationError(
        f"ledger.url: {parsed.get_backend_name()!r} is not supported. Use sqlite or postgresql."
    )


def _sqlite(path: str | None, *, makes_file: bool) -> Engine:
    if not path:
        raise ConfigurationError("ledger.url: no file is named. Write sqlite:///ledger.db.")
    engine = create_engine(f"sqlite:///{path}", pool_size=_CONNECTIONS, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object, record: ConnectionPoolEntry, *_settings: object
    ) -> sqlite3.Connection:
        record.info["file"] = file_at(path)  # before opening: the file may be replaced afterwards
        return connected(path, makes_file=makes_file)

    @event.listens_for(engine, "checkin")
    def discard_read_only(connection: object, record: ConnectionPoolEntry) -> None:
        if isinstance(connection, ReadOnly):  # close it: the file may be writable at the next use
            record.invalidate()

    @event.listens_for(engine, "checkout")
    def refuse_replaced_file(_connection: object, record: ConnectionPoolEntry, _: object) -> None:
        if record.info["file"] not in (file_at(path), None):
            raise InvalidatePoolError

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if connection.get_execution_options().get("standfast_writes", False):
            begin_writing(cast("sqlite3.Connection", driver), path)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a consistent, read-only view of the database."""
    with _plain_errors(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with refuse_concurrent_write(connection.connection.driver_connection), connection.begin():
            yield connection


@contextmanager
def reading_undecoded(engine: Engine) -> Iterator[Connection]:
    """Open a consistent view of a database that may be manipulated.

    SQLite's driver raises an error for text that is not UTF-8; here, each invalid byte becomes a
    lone surrogate.
    """
    with reading(engine) as connection:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            yield connection
            return
        driver.text_factory = lambda raw: raw.decode(errors="surrogateescape")
        try:
            yield connection
        finally:
            driver.text_factory = str


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction; roll it back on any exception."""
    with (
        _plain_errors(engine, writes=True),
        _write_queue(engine),
        engine.connect().execution_options(standfast_writes=True) as connection,
        _log_when_long(engine, connection),
        connection.begin(),
    ):
        yield connection


@contextmanager
def _write_queue(engine: Engine) -> Iterator[None]:
    if engine.dialect.name != "sqlite":
        yield
        return
    with write_queue(str(engine.url.database)):
        yield


@contextmanager
def _log_when_long(
    engine: Engine, connection: Connection, *, is_planning: bool = False
) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        yield  # `write_queue` logs the wait
        return
    driver = cast("Any", connection.connection.driver_connection)
    with log_long_wait(driver.info.backend_pid, engine, is_planning=is_planning):
        yield


@contextmanager
def planning(engine: Engine) -> Iterator[None]:
    """Lock the planning of steps; the lock ends when its process ends.

    To plan a step of an incident is to compute its changes and to store them.
    """
    if engine.dialect.name == "sqlite":
        with write_queue(f"{engine.url.database}-planning"):
            yield
        return
    # Lock for the session, because a long plan is written in several transactions. No transaction
    # stays open: it would prevent VACUUM for minutes.
    with (
        _plain_errors(engine),
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        with _log_when_long(engine, connection, is_planning=True):
            connection.execute(text(f"SELECT pg_advisory_lock({_PLANNING_LOCK})"))
        try:
            yield
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({_PLANNING_LOCK})"))


def wait_for_turn(connection: Connection, incident_id: str, *, is_shared: bool) -> None:
    """Lock an incident: shared for a claim, exclusive for a stop.

    A claim is the transaction before a call of an external system; after a stop, no further claim
    is permitted. On SQLite nothing is locked here, because it has only one writer at a time. On
    PostgreSQL a row lock is not enough: overlapping claims could share it for ever while a stop
    waits. Requests for advisory locks form a queue, so no claim overtakes a waiting stop.
    """
    if connection.dialect.name == "postgresql":
        shared = "_shared" if is_shared else ""
        connection.execute(
            text(f"SELECT pg_advisory_xact_lock{shared}(hashtextextended(:name, 0))"),
            {"name": f"standfast {incident_id}"},
        )


@contextmanager
def _plain_errors(engine: Engine, *, writes: bool = False) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise _unavailable(engine, error) from None
    except DBAPIError as error:
        if has_message(state := getattr(error.orig, "sqlstate", None)):
            raise Unavailable(error_message(state, "")) from None
        if state == NO_RIGHT:
            raise lacks_permission(writes=writes) from None
        name = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
        raise refused(name) from None
    except UnicodeEncodeError:  # an argument of the command is not UTF-8
        raise UsageError(
            "a name or text: not UTF-8. Type it in a terminal that is set to UTF-8."
        ) from None
    except sqlite3.OperationalError as error:  # `begin_writing` uses the driver directly
        raise unavailable(str(engine.url.database), str(error), type(error).__name__) from None
    except sqlite3.Error as error:
        raise refused(getattr(error, "sqlite_errorname", type(error).__name__)) from None


def _unavailable(engine: Engine, error: OperationalError) -> StandfastError:
    if engine.dialect.name != "sqlite":
        return Unavailable(error_message(getattr(error.orig, "sqlstate", None), str(error.orig)))
    return unavailable(engine.url.database or "", str(error.orig), type(error.orig).__name__)
