"""Server log and audit tables of PostgreSQL as evidence, by its protocol.

    FOLDER/SOURCE/TOKEN/files/log/postgresql-Tue.csv    a file of the server log
                             /tables/sign-ins.csv       the rows of a query, with a header

Rules
- A log file is read up to the size that it had when the files were listed. If the file is shorter
  when it is read, it was rotated; its item in the manifest (the signed list of collected items)
  states that.
- Log files are selected by their last change and kept whole, so only a query can select accounts.
- Queries run in read-only sessions, and the server writes the rows as CSV (`COPY`). They receive
  the start and end of the requested time window, and the accounts, as parameters.
- Each file and each query has its own connection, so that a failure ends one item only. Errors have
  the server's code, never its text, which may contain a customer's data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from standfast.adapters.clients.postgresql_connection import connect
from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.sealed_source import (
    Collected,
    SealedSource,
    SourceContext,
)
from standfast.config.sections.evidence_sources import PostgresqlEvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.collected_file import CollectedFile, unread
from standfast.evidence.item_file import ItemFolder
from standfast.evidence.manifest import Item

if TYPE_CHECKING:
    import psycopg

    Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_CONNECT_SECONDS = 10
_READ_BYTES = 4 * 1024 * 1024
_MIB = 1024 * 1024
_LOG_FILES = """
SELECT name, size FROM pg_catalog.pg_ls_logdir() WHERE modification >= %s ORDER BY name
"""
_LOG_PART = """
SELECT pg_catalog.pg_read_binary_file(
  pg_catalog.current_setting('log_directory') || '/' || %s, %s, %s)
"""


class PostgresqlEvidence(SealedSource):
    """Evidence source for a server's log and tables of one database."""

    def __init__(
        self, name: str, settings: PostgresqlEvidenceConfig, context: SourceContext
    ) -> None:
        super().__init__(name, context)
        self._settings = settings
        self._password = None if settings.password is None else context.reveal(settings.password)

    def _scope(self) -> str:
        settings = self._settings
        try:
            with closing(self._connect()) as connection:
                if settings.logs:
                    _log_files(connection, self._clock())
        except _errors() as error:
            raise Unavailable(self._explain(error)) from None
        parts = [*(["server log"] if settings.logs else []), *settings.queries]
        return f"read and seal of the last {settings.hours} hours: {', '.join(parts)}"

    def _collect(self, files: ItemFolder, custody: Custody) -> Collected:
        settings = self._settings
        until = self._clock()
        since = until - timedelta(hours=settings.hours)
        self._connect().close()  # a server that does not answer is a failure, not an item
        window = {"since": since, "until": until, "accounts": list(settings.accounts)}
        items = [
            *(self._log_items(files, since) if settings.logs else ()),
            *(self._table(files, name, query, window) for name, query in settings.queries.items()),
        ]
        server = f"{settings.host}:{settings.port}/{settings.database}"
        logs = [f"{server} pg_ls_logdir()"] if settings.logs else []
        queries = (f"{server} {query}" for query in settings.queries.values())
        return Collected(items=tuple(items), paths=(*logs, *queries))

    def _log_items(self, files: ItemFolder, since: datetime) -> Iterator[Item]:
        try:
            with closing(self._connect()) as connection:
                listed = _log_files(connection, since)
        except _errors() as error:
            yield unread("/log", self._explain(error))
            return
        for name, size in listed:
            if "/" in name or name in (".", ".."):
                yield unread("/log", "the server named a file outside its log folder")
            else:
                yield self._log_file(files, name, size)

    def _log_file(self, files: ItemFolder, name: str, size: int) -> Item:
        def read(connection: "Connection", log: CollectedFile) -> str:
            while left := size - log.size_bytes:
                part = (name, log.size_bytes, min(left, _READ_BYTES))
                row = connection.execute(_LOG_PART, part).fetchone()
                if row is None or not row[0]:
                    return f"it had {size} bytes when it was listed, and was rotated since"
                log.write(row[0])
            return ""

        return self._item(files, f"/log/{name}", read)

    def _table(
        self, files: ItemFolder, name: str, query: str, window: Mapping[str, object]
    ) -> Item:
        most = self._settings.limit_mib * _MIB

        def read(connection: "Connection", table: CollectedFile) -> str:
            copy = f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)".encode()
            with connection.cursor() as cursor, cursor.copy(copy, window) as blocks:
                for block in blocks:
                    if table.size_bytes + len(block) > most:
                        connection.close()  # otherwise the driver would read the rest
                        return f"cut after {self._settings.limit_mib} MiB, the limit"
                    table.write(bytes(block))
            return ""

        return self._item(files, f"/tables/{name}.csv", read)

    def _item(
        self, files: ItemFolder, path: str, read: Callable[["Connection", CollectedFile], str]
    ) -> Item:
        """Return the item that `read` wrote.

        `read` returns why a part is missing, or "" for a complete file.
        """
        with CollectedFile(files, path) as file:
            try:
                with closing(self._connect()) as connection:
                    missing = read(connection, file)
            except _errors() as error:
                missing = self._explain(error)
            return file.item(missing)

    def _explain(self, error: Exception) -> str:
        """Return the text of an error, without the server's own text."""
        import psycopg

        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return "the configured role lacks a right. docs/evidence.md lists all of them."
        if isinstance(error, psycopg.errors.QueryCanceled):
            return f"cut after {self._settings.timeout_seconds} s, the time limit"
        if isinstance(error, psycopg.Error):
            code = error.sqlstate
            return f"the server reported SQLSTATE {code}" if code else "the connection was lost"
        return str(error)

    def _connect(self) -> "Connection":
        return connect(
            self._settings,
            self._password,
            connect_seconds=_CONNECT_SECONDS,
            statement_milliseconds=self._settings.timeout_seconds * 1000,
            parameter="default_transaction_read_only=on",
        )


def _log_files(connection: "Connection", since: datetime) -> Sequence[tuple[str, int]]:
    """Return the names and sizes of the log files that changed in the window."""
    return [(str(name), int(size)) for name, size in connection.execute(_LOG_FILES, (since,))]


def _errors() -> tuple[type[Exception], ...]:
    """Return the error classes of the server and of a connection."""
    import psycopg

    return (psycopg.Error, Unavailable)
