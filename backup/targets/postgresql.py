"""PostgreSQL target: loads dumps; keeps the old database until the end.

- A missing database is created with the encoding, locale, settings and grants of the dump. If its
  name differs from the name of the dumped database, it gets the defaults of the server.
- `replace` renames the existing database, and drops it after the new database is complete. After a
  failure, the old database gets its name back. If the server refused statements, the old database
  is kept under its new name, which is reported. A rename ends the sessions of the database.
- An object that the server refuses is skipped, and the restore continues.
- The error output of `pg_restore` quotes data, which may look like error messages. The number of
  refused statements is the count in the last line of `pg_restore` or the number of its error lines,
  whichever is higher.
- Only statements about roles and tablespaces are sent to `psql`, and it runs no command of its own.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from backup.errors import BackupError, TargetFailed, UnsafePath
from backup.sources.client_programs import Command, ProgramFailed
from backup.sources.postgresql.dump_source import GLOBALS, SUFFIX
from backup.sources.postgresql.server import PostgresqlServer, identifier, literal
from backup.targets import Stream, Target, TargetResult, feed, query
from backup.targets.statement_allowlist import POSTGRESQL, checked_statements

_MAX_NAMED = 20
_NAME_BYTES = 63
_RENAME_ATTEMPTS = 20
_SETTINGS = "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n"
_EXISTS = {"42710", "42P04"}  # duplicate_object, duplicate_database: SQLSTATE
_SQLSTATE = re.compile(r"\b(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5})\b")
# Parts of a message that may be shown: the name of an object, never a value.
_NAMED = re.compile(
    r"\b(role|schema|type|function|relation|table|extension|language|tablespace|collation|sequence|"
    r'index|constraint|database|column|operator|publication) ("(?:[^"]|"")*")'
)
_DUMPED_FROM = re.compile(rb"Dumped from database version: (\d+)")
_ERROR_START = "pg_restore: error:"
_IGNORED = re.compile(r"(?:pg_restore: warning|WARNING): errors ignored on restore: (\d+)")
_DATABASE_ENTRY = re.compile(r"\d+; \d+ \d+ DATABASE\b")  # an entry in a list of pg_restore
_QUOTED = re.compile(r'"(?:[^"]|"")*"')

# The last term of the sum counts types and all other objects that users created.
_CONTENT = """
SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
     + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
     + (SELECT count(*) FROM pg_namespace n WHERE n.nspname !~ '^pg_'
        AND n.nspname NOT IN ('information_schema', 'public'))
     + (SELECT count(*) FROM pg_largeobject_metadata)
     + (SELECT count(*) FROM pg_publication)
     + (SELECT count(*) FROM pg_depend WHERE objid >= 16384)"""


def dumped_version(list_command: Command, stream: Stream) -> int:
    """Return the major version of a dump's server; 0 if it is unknown.

    `list_command` is a command of pg_restore that lists the content of a dump.
    """
    found = _DUMPED_FROM.search(query(list_command, stream))
    return int(found.group(1)) if found else 0


class PostgresqlTarget(Target):
    """A server, with a role that may create databases.

    To replace a database, the role must own it.
    """

    kind = "postgresql"
    suffix = SUFFIX
    globals_name = GLOBALS

    def __init__(self, server: PostgresqlServer, now: Callable[[], datetime]) -> None:
        self._server = server
        self._now = now

    def plan_obstacle(self, database: str, stream: Stream) -> str:
        """Return why the server cannot load a dump, or ""."""
        with _translated("reading the dump of", database):
            command = self._server.command("pg_restore", "--format=custom", "--list")
            needed, version = dumped_version(command, stream), self._server.version()
        if needed > version:
            return (
                f"the dump is of version {needed}, and the server is of version {version}. Name a"
                " newer server."
            )
        return ""

    def database_id(self, database: str) -> str:
        """Return the oid of a database, which a rename does not change, or ""."""
        with _translated("reading", database):
            sql = f"SELECT oid FROM pg_database WHERE datname = {literal(database)}"  # noqa: S608 - quoted
            return self._server.value(sql)

    def size_bytes(self, database: str) -> int:
        """Return the size of a database; 0 if it has no content."""
        with _translated("reading", database):
            if not self._has_content(database):
                return 0
            return int(self._server.value(f"SELECT pg_database_size({literal(database)})"))

    def rename(self, database: str, name: str) -> None:
        """End the sessions of a database and rename it."""
        with _translated("renaming", database):
            self._rename(database, name)

    def _restore(self, database: str, name: str, stream: Stream, *, replace: bool) -> TargetResult:
        exists = self._exists(database)
        if exists and not self._has_content(database):
            return self._load(database, stream)
        if not exists:
            with self._drop_on_failure(database):
                return self._create(database, name, stream)
        if not replace:
            raise UnsafePath(
                f"database {database} is not empty, and was not changed. Restore into another "
                "database, or use --replace"
            )
        return self._replace(database, name, stream)

    def _replace(self, database: str, name: str, stream: Stream) -> TargetResult:
        old_name = self._old_name(database)
        self._rename(database, old_name)
        try:
            with self._drop_on_failure(database):
                result = self._create(database, name, stream)
        except BaseException:
            self._rename(old_name, database)
            raise
        if result.problems_total:
            return TargetResult(
                database=database,
                bytes=result.bytes,
                problems=result.problems,
                problems_total=result.problems_total,
                kept_as=old_name,
            )
        self._drop(old_name)
        return result

    @contextmanager
    def _drop_on_failure(self, database: str) -> Iterator[None]:
        """Drop the new database if the block fails: a part of it is useless."""
        try:
            yield
        except BaseException:
            with suppress(BackupError, ProgramFailed):
                self._drop(database)
            raise

    def _create(self, database: str, name: str, stream: Stream) -> TargetResult:
        if database == name and self._creates_only_itself(name, stream):
            return self._load(database, stream, "--create", connect_to="postgres")
        self._run(f"CREATE DATABASE {identifier(database)} TEMPLATE template0")
        return self._load(database, stream)

    def _creates_only_itself(self, name: str, stream: Stream) -> bool:
        """Return whether a dump creates a database of this name, and no other.

        With --create, pg_restore creates the database that the dump names, and loads into it.
        """
        command = self._server.command("pg_restore", "--format=custom", "--create", "--list")
        listed = query(command, stream).decode("utf-8", "replace").split("\n")
        found = [line for line in listed if _DATABASE_ENTRY.match(line)]
        own_entry = re.compile(rf"[\d; ]+ DATABASE( PROPERTIES)? - {re.escape(name)} \S+")
        return bool(found) and all(own_entry.fullmatch(line) for line in found)

    def _load(
        self, database: str, stream: Stream, *options: str, connect_to: str | None = None
    ) -> TargetResult:
        command = self._server.command(
            "pg_restore",
            "--format=custom",
            "--no-password",
            f"--dbname=dbname={_quote_connection_value(connect_to or database)}",
            *options,
        )
        status, sent, lines = feed(command, stream)
        errors = [line for line in lines if line.startswith(_ERROR_START)]
        ignored = _IGNORED.fullmatch(lines[-1]) if lines else None
        has_run_completely = status == 0 or ignored is not None
        if not has_run_completely:
            last = errors[-1] if errors else f"pg_restore ended with {status}"
            raise TargetFailed(f"restoring into database {database} failed: {_without_data(last)}")
        return TargetResult(
            database=database,
            bytes=sent,
            problems=tuple(map(_without_data, errors[:_MAX_NAMED])),
            problems_total=max(len(errors), int(ignored.group(1)) if ignored else 0),
        )

    def _restore_globals(self, stream: Stream) -> TargetResult:
        # Report only the SQLSTATE, because the message of a refused statement may quote a password
        # hash.
        self._server.require_restrict()
        statements, size = checked_statements(stream, POSTGRESQL)
        # After \restrict, psql runs no command of its own without this secret key.
        first = f"\\restrict {secrets.token_hex(32)}\n{_SETTINGS}".encode()
        command = self._server.command(
            "psql", "-X", "-q", "-w", "-v", "VERBOSITY=sqlstate", "-f", "-"
        )
        status, _, lines = feed(command, lambda: iter([first, statements]))
        if status:
            raise ProgramFailed(f"psql ended with {status}: {(lines or ['no error message'])[-1]}")
        codes = [found.group(1) for line in lines if (found := _SQLSTATE.search(line))]
        wrong = [code for code in codes if code not in _EXISTS]
        return TargetResult(
            database="",
            bytes=size,
            problems=tuple(
                f"a statement was refused: SQLSTATE {code}" for code in wrong[:_MAX_NAMED]
            ),
            problems_total=len(wrong),
        )

    def _exists(self, database: str) -> bool:
        sql = f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"  # noqa: S608 - quoted
        return self._server.value(sql) == "1"

    def _has_content(self, database: str) -> bool:
        return self._server.value(_CONTENT, database=database) != "0"

    def _old_name(self, database: str) -> str:
        ending = f"_before_{self._now():%Y%m%d_%H%M%S}"  # a name that needs no quotes
        start = database.encode()[: _NAME_BYTES - len(ending)].decode("utf-8", "ignore")
        return start + ending

    def _rename(self, old: str, new: str) -> None:
        sessions = f"FROM pg_stat_activity WHERE datname = {literal(old)}"
        rename = f"ALTER DATABASE {identifier(old)} RENAME TO {identifier(new)}"
        for _ in range(_RENAME_ATTEMPTS - 1):
            self._run(f"SELECT count(pg_terminate_backend(pid)) {sessions}")
            with suppress(ProgramFailed):  # somebody reconnected; or the role does not own it
                self._run(rename)
                return
        self._run(rename)

    def _drop(self, database: str) -> None:
        is_template = f"SELECT datistemplate FROM pg_database WHERE datname = {literal(database)}"  # noqa: S608 - quoted
        if self._server.value(is_template) == "t":
            self._run(f"ALTER DATABASE {identifier(database)} IS_TEMPLATE false")
        self._run(f"DROP DATABASE IF EXISTS {identifier(database)} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        self._server.column(statement)


@contextmanager
def _translated(doing: str, database: str) -> Iterator[None]:
    try:
        yield
    except ProgramFailed as error:
        raise TargetFailed(f"{doing} database {database} failed: {error}") from error


def _quote_connection_value(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _without_data(line: str) -> str:
    """Return a message without quoted values, but with names of objects."""
    kept_names: list[str] = []

    def keep_name(found: re.Match[str]) -> str:
        kept_names.append(found.group(2))
        return f"{found.group(1)} \0"

    bare = _QUOTED.sub("…", _NAMED.sub(keep_name, line))
    for name in kept_names:
        bare = bare.replace("\0", name, 1)
    return bare.removeprefix(f"{_ERROR_START} ")
