"""Audiences from queries on PostgreSQL and MariaDB servers.

An audience is the list of recipients of a notice (a message to the people that an incident
concerns). A suppression list names people that must never be contacted.

Rules
- A database role that may write is refused, so that a wrong or changed query can damage nothing.
  The query also runs in a read-only transaction.
- A query is one statement; both drivers are prevented from sending a second statement.
- The server cancels a statement after `timeout_seconds`. Rows are fetched a page at a time.
- The server's messages are not repeated: they may quote a customer.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from standfast.adapters.audience_sources.files import suppressed_rows, text_rows
from standfast.config.sections.server_settings import MariadbTls, PostgresqlTls
from standfast.errors import ConfigurationError, ExtraMissing, Unavailable
from standfast.notices.audience import NO_RULES, Audience, gather
from standfast.notices.audience_rows import Rules, check_columns
from standfast.retry_rules import AUDIENCE_SECONDS
from standfast.server_tls import mariadb_tls, postgresql_tls

_PAGE = 2_000
_CONNECT_SECONDS = 10
_CANCELLED = "57014"  # PostgreSQL: query_canceled
_TIMED_OUT = 1969  # MariaDB: ER_STATEMENT_TIMEOUT
_READING = frozenset({"USAGE", "SELECT", "SHOW VIEW"})
# Whether the role may write, or another role that a query could adopt with `set_config`.
_WRITES = """
SELECT EXISTS (
  SELECT FROM pg_catalog.pg_roles AS r
  WHERE pg_catalog.pg_has_role(r.oid, 'MEMBER')
  AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR EXISTS (
    SELECT FROM pg_catalog.pg_class AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    WHERE t.relkind IN ('r', 'p', 'v', 'f')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND (pg_catalog.has_table_privilege(r.oid, t.oid, 'DELETE, TRUNCATE')
      OR pg_catalog.has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE')))))
"""


@dataclass(frozen=True, kw_only=True)
class DatabaseOptions:
    """Address of one database, and the role that reads it."""

    host: str  # a name, or a folder (PostgreSQL) or file (MariaDB) of its socket
    port: int
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    tls: PostgresqlTls | MariadbTls | None = None
    ca_file: Path | None = None
    timeout_seconds: float = 60.0


def postgresql_audience(options: DatabaseOptions, query: str, rules: Rules = NO_RULES) -> Audience:
    """Run one SELECT; further columns become values for the notice's text.

    Raises ConfigurationError if the role may write, or if the query fails or runs too long.
    Raises Unavailable if the server does not answer.
    """
    with _postgresql(options, query) as (names, rows):
        check_columns(names)
        return gather(text_rows(names, rows), rules)


def postgresql_suppressed(options: DatabaseOptions, query: str) -> dict[str, str]:
    """Return the suppression list of a query: reasons by address or key.

    Raises the errors of `postgresql_audience`.
    """
    with _postgresql(options, query) as (_, rows):
        return suppressed_rows(rows)


def mariadb_audience(options: DatabaseOptions, query: str, rules: Rules = NO_RULES) -> Audience:
    """Run one SELECT on MariaDB, like `postgresql_audience`."""
    with _mariadb(options, query) as (names, rows):
        check_columns(names)
        return gather(text_rows(names, rows), rules)


def mariadb_suppressed(options: DatabaseOptions, query: str) -> dict[str, str]:
    """Return the suppression list of a query: reasons by address or key.

    Raises the errors of `postgresql_audience`.
    """
    with _mariadb(options, query) as (_, rows):
        return suppressed_rows(rows)


@contextmanager
def _postgresql(
    options: DatabaseOptions, query: str
) -> Iterator[tuple[list[str], Iterator[tuple[object, ...]]]]:
    try:
        import psycopg
    except ImportError:
        raise ExtraMissing(
            "PostgreSQL's driver is not installed. "
            "Run `pip install -r requirements/extras/postgresql.txt`."
        ) from None
    milliseconds = max(1, int(options.timeout_seconds * 1000))
    try:
        connection = psycopg.connect(
            host=options.host,
            port=options.port,
            dbname=options.database,
            user=options.user,
            password=options.password,
            **postgresql_tls(options.host, options.tls, options.ca_file),
            connect_timeout=_CONNECT_SECONDS,
            application_name="standfast",
            client_encoding="utf8",
            options=f"-c statement_timeout={milliseconds} -c default_transaction_read_only=on",
        )
    except psycopg.Error:
        _no_answer("PostgreSQL", options)
    try:
        connection.read_only = True
        may_write = connection.execute(_WRITES).fetchone()
        if may_write is None or may_write[0]:
            _may_write(options, "GRANT SELECT ON … TO it, and nothing else")
        # A named cursor is on the server; the driver opens it only for a query.
        with connection.cursor(name="audience") as cursor:
            cursor.itersize = _PAGE
            cursor.execute(query.encode())
            yield [column.name for column in cursor.description or ()], iter(cursor)
    except psycopg.Error as error:
        if error.sqlstate is None:
            _no_answer("PostgreSQL", options)
        _failed(options, f"SQLSTATE {error.sqlstate}", is_late=error.sqlstate == _CANCELLED)
    finally:
        connection.close()


@contextmanager
def _mariadb(
    options: DatabaseOptions, query: str
) -> Iterator[tuple[list[str], Iterator[tuple[object, ...]]]]:
    try:
        import pymysql
        from pymysql.cursors import SSCursor
    except ImportError:
        raise ExtraMissing(
            "MariaDB's driver is not installed. "
            "Run `pip install -r requirements/extras/mariadb.txt`."
        ) from None
    where: dict[str, Any] = (
        {"unix_socket": options.host}
        if options.host.startswith("/")
        else {"host": options.host, "port": options.port}
    )
    try:
        connection = pymysql.connect(
            **where,
            user=options.user,
            password=options.password or "",
            database=options.database,
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=options.timeout_seconds + _CONNECT_SECONDS,
            **mariadb_tls(options.host, options.tls, options.ca_file),
        )
    except pymysql.MySQLError:
        _no_answer("MariaDB", options)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW GRANTS")
            if not all(_only_reads(str(row[0])) for row in cursor.fetchall()):
                _may_write(options, "GRANT SELECT ON … TO it, and nothing else")
            cursor.execute("SET SESSION max_statement_time = %s", (options.timeout_seconds,))
            cursor.execute("START TRANSACTION READ ONLY")
        with connection.cursor(SSCursor) as cursor:
            cursor.execute(query)
            yield [column[0] for column in cursor.description or ()], iter(cursor.fetchone, None)
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args else 0
        if isinstance(error, pymysql.OperationalError) and isinstance(code, int) and code >= 2000:
            _no_answer("MariaDB", options)  # error codes of the client: the connection is lost
        _failed(options, f"error {code}", is_late=code == _TIMED_OUT)
    finally:
        connection.close()


def _only_reads(grant: str) -> bool:
    """Return whether a line of SHOW GRANTS permits only reading.

    The own grants of a role are on separate lines.
    """
    given = re.match(r"GRANT (.+?) ON ", grant)
    if given is None or grant.endswith("WITH GRANT OPTION"):
        return False  # the line grants a role, whose rights are hidden until it is active
    rights = re.sub(r"\([^)]*\)", "", given[1])  # remove the column list of a privilege
    return all(right.strip() in _READING for right in rights.split(","))


def _no_answer(product: str, options: DatabaseOptions) -> NoReturn:
    raise Unavailable(
        f"audience at {options.host}: {product} refuses {options.user} for {options.database}, or "
        "does not answer. Check that it runs, the password and `tls`.",
        retry_after_seconds=AUDIENCE_SECONDS,
    ) from None


def _may_write(options: DatabaseOptions, how: str) -> NoReturn:
    raise ConfigurationError(
        f"audience at {options.host}: {options.user} may do more than read. Use a role that may "
        f"only read: {how}."
    )


def _failed(options: DatabaseOptions, code: str, *, is_late: bool) -> NoReturn:
    why = f"runs longer than {options.timeout_seconds:g} seconds" if is_late else f"fails ({code})"
    raise ConfigurationError(
        f"audience at {options.host}: the query {why}. Write one SELECT of tables that the role "
        "may read."
    ) from None
