"""Into a PostgreSQL server: dumps by `pg_restore`, roles and tablespaces by `psql`.

- A database that is lacking is made as the dump says, with its encoding, locale, settings and
  grants; under another name it gets the server's, and so it does where the dump names another
  database than the one it is restored as.
- `replace` moves the database that stands there aside, and drops it only once the new one is
  whole; after a failure it gets its name back, after problems it stays aside and is named.
- Its sessions are ended for that.
- An object that the server refuses costs that object: the others are restored.
- `psql` gets statements about roles and tablespaces only, and runs no command of its own.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from backup.errors import BackupError, TargetFailed, UnsafePath
from backup.sources.client_programs import ProgramFailed
from backup.sources.postgresql.dump_source import GLOBALS, SUFFIX
from backup.sources.postgresql.server import PostgresqlServer, identifier, literal
from backup.targets import Stream, Taken, Target, ask, feed
from backup.targets.statement_allowlist import POSTGRESQL, checked_statements

_MOST_NAMED = 20
_NAME_BYTES = 63
_RENAME_ATTEMPTS = 20
_SETTINGS = "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n"
_ALREADY_THERE = {"42710", "42P04"}  # duplicate_object, duplicate_database: SQLSTATE
_SQLSTATE = re.compile(r"\b(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5})\b")
# What may be quoted in a message: the name of something, never a value.
_NAMED = re.compile(
    r"\b(role|schema|type|function|relation|table|extension|language|tablespace|collation|sequence|"
    r'index|constraint|database|column|operator|publication) ("(?:[^"]|"")*")'
)
_A_DATABASE = re.compile(r"\d+; \d+ \d+ DATABASE\b")  # an entry in a list of pg_restore
_QUOTED = re.compile(r'"(?:[^"]|"")*"')

_CONTENT = """
SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
     + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
     + (SELECT count(*) FROM pg_namespace n WHERE n.nspname !~ '^pg_'
        AND n.nspname NOT IN ('information_schema', 'public'))
     + (SELECT count(*) FROM pg_largeobject_metadata)
     + (SELECT count(*) FROM pg_publication)
     + (SELECT count(*) FROM pg_depend WHERE objid >= 16384)"""  # types and all else of users


class PostgresqlTarget(Target):
    """A server, as a role that may create databases, and in replacing owns the old one."""

    kind = "postgresql"
    suffix = SUFFIX
    globals_name = GLOBALS

    def __init__(self, server: PostgresqlServer, now: Callable[[], datetime]) -> None:
        self._server = server
        self._now = now

    def _restore(self, database: str, name: str, stream: Stream, *, replace: bool) -> Taken:
        is_there = self._is_there(database)
        if is_there and not self._holds_something(database):
            return self._into(database, stream)
        if not is_there:
            with self._made(database):
                return self._create(database, name, stream)
        if not replace:
            raise UnsafePath(
                f"database {database} is not empty, and was left as it is. Restore into another"
                " one, or say --replace"
            )
        return self._replace(database, name, stream)

    def _replace(self, database: str, name: str, stream: Stream) -> Taken:
        aside = self._aside(database)
        self._rename(database, aside)
        try:
            with self._made(database):
                taken = self._create(database, name, stream)
        except BaseException:
            self._rename(aside, database)
            raise
        if taken.problems_total:
            return Taken(
                database=database,
                bytes=taken.bytes,
                problems=taken.problems,
                problems_total=taken.problems_total,
                kept_as=aside,
            )
        self._drop(aside)
        return taken

    @contextmanager
    def _made(self, database: str) -> Iterator[None]:
        """Drop what was made in the block when that fails: half a database serves nobody."""
        try:
            yield
        except BaseException:
            with suppress(BackupError, ProgramFailed):
                self._drop(database)
            raise

    def _create(self, database: str, name: str, stream: Stream) -> Taken:
        if database == name and self._creates_it_alone(name, stream):
            return self._into(database, stream, "--create", connect_to="postgres")
        self._run(f"CREATE DATABASE {identifier(database)} TEMPLATE template0")
        return self._into(database, stream)

    def _creates_it_alone(self, name: str, stream: Stream) -> bool:
        """Return whether a dump creates a database of this name and none besides.

        With --create, pg_restore goes on in whichever database the dump names.
        """
        command = self._server.command("pg_restore", "--format=custom", "--create", "--list")
        listed = ask(command, stream).decode("utf-8", "replace").split("\n")
        found = [line for line in listed if _A_DATABASE.match(line)]
        own = re.compile(rf"[\d; ]+ DATABASE( PROPERTIES)? - {re.escape(name)} \S+")
        return bool(found) and all(own.fullmatch(line) for line in found)

    def _into(
        self, database: str, stream: Stream, *options: str, connect_to: str | None = None
    ) -> Taken:
        command = self._server.command(
            "pg_restore",
            "--format=custom",
            "--no-password",
            f"--dbname=dbname={_in_connection_string(connect_to or database)}",
            *options,
        )
        status, sent, lines = feed(command, stream)
        errors = [line for line in lines if "error:" in line]
        is_whole_run = status == 0 or any("errors ignored on restore" in line for line in lines)
        if not is_whole_run:
            last = errors[-1] if errors else f"pg_restore ended with {status}"
            raise TargetFailed(f"restoring into database {database} failed: {_without_data(last)}")
        return Taken(
            database=database,
            bytes=sent,
            problems=tuple(map(_without_data, errors[:_MOST_NAMED])),
            problems_total=_ignored(lines),
        )

    def _restore_globals(self, stream: Stream) -> Taken:
        # SQLSTATE alone: the message of a refused statement would quote a password's hash.
        self._server.require_restrict()
        statements, size = checked_statements(stream, POSTGRESQL)
        # From here on psql takes no command of its own, without a key that nobody else knows.
        first = f"\\restrict {secrets.token_hex(32)}\n{_SETTINGS}".encode()
        command = self._server.command(
            "psql", "-X", "-q", "-w", "-v", "VERBOSITY=sqlstate", "-f", "-"
        )
        status, _, lines = feed(command, lambda: iter([first, statements]))
        if status:
            raise ProgramFailed(f"psql ended with {status}: {(lines or ['it said nothing'])[-1]}")
        codes = [found.group(1) for line in lines if (found := _SQLSTATE.search(line))]
        wrong = [code for code in codes if code not in _ALREADY_THERE]
        return Taken(
            database="",
            bytes=size,
            problems=tuple(
                f"a statement was refused: SQLSTATE {code}" for code in wrong[:_MOST_NAMED]
            ),
            problems_total=len(wrong),
        )

    def _is_there(self, database: str) -> bool:
        sql = f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"  # noqa: S608 - quoted
        return self._server.value(sql) == "1"

    def _holds_something(self, database: str) -> bool:
        return self._server.value(_CONTENT, database=database) != "0"

    def _aside(self, database: str) -> str:
        ending = f"_before_{self._now():%Y%m%d_%H%M%S}"  # a name that needs no quotes
        start = database.encode()[: _NAME_BYTES - len(ending)].decode("utf-8", "ignore")
        return start + ending

    def _rename(self, old: str, new: str) -> None:
        sessions = f"FROM pg_stat_activity WHERE datname = {literal(old)}"
        rename = f"ALTER DATABASE {identifier(old)} RENAME TO {identifier(new)}"
        for _ in range(_RENAME_ATTEMPTS - 1):
            self._run(f"SELECT count(pg_terminate_backend(pid)) {sessions}")
            with suppress(ProgramFailed):  # somebody came back in between; or it is not ours
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


def _in_connection_string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _ignored(lines: list[str]) -> int:
    counts = [re.search(r"errors ignored on restore: (\d+)", line) for line in lines]
    return next((int(found.group(1)) for found in counts if found), 0)


def _without_data(line: str) -> str:
    """A message without what it quotes of values; names of objects stay."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found.group(2))
        return f"{found.group(1)} \0"

    bare = _QUOTED.sub("…", _NAMED.sub(keep, line))
    for name in kept:
        bare = bare.replace("\0", name, 1)
    return bare.removeprefix("pg_restore: error: ")
