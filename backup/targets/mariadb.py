"""MariaDB target: loads dumps and users; replaces or moves databases.

- A missing database is created. The first statement of the dump sets its character set.
- MariaDB cannot rename a database. With `replace`, the existing database is dropped before the
  load. Before that, the whole dump is read once, so that damage in the vault is found before data
  is lost.
- The recovery of a database in an incident does not use `replace`. It loads the dump with limited
  rights (`stage`) and moves the content of the existing database to another name (`move`), so that
  the recovery can be undone.
- The first statement that the server refuses ends the restore, so that no table is restored in
  part.
- Dumps cannot start programs or read files of this machine. From the dump of users and grants, only
  statements about users and grants are sent.
- Existing users are kept. They get the grants of the dump, and in MariaDB also its passwords.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from backup.errors import BackupError, TargetFailed, UnsafePath
from backup.sources.client_programs import ProgramFailed
from backup.sources.mariadb.dump_source import SUFFIX, USERS
from backup.sources.mariadb.server import MariadbPrograms, MariadbServer, identifier, literal
from backup.targets import Stream, Target, TargetResult, feed, mariadb_move, read_through
from backup.targets.mariadb_accounts import (
    ALL_RIGHTS,
    READ_RIGHTS,
    definer_obstacle,
    grant_obstacle,
    limited_account,
)
from backup.targets.mariadb_code import BATCH, execute
from backup.targets.mariadb_dump import Account, DumpCode, dump_version
from backup.targets.mariadb_move import DatabaseContent
from backup.targets.statement_allowlist import MARIADB, checked_statements

_MAX_NAMED = 20
_EXISTS = {"1396"}  # CREATE USER of an existing user
_TOO_LARGE = {"1153", "2006"}  # 2006: the server has closed the connection
_ERROR = re.compile(r"^ERROR (\d+) \((\w+)\)(?: at line (\d+))?")
_SETTINGS = b"SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';\n"


@dataclass(frozen=True, kw_only=True)
class LimitedQueries:
    """Queries of an account with rights on a few databases only."""

    programs: MariadbPrograms

    def value(self, sql: str, database: str) -> str:
        """Return the only value of a query; raise `ProgramFailed` on error."""
        rows = execute(self.programs, sql.rstrip("; \n"), database=database)
        return rows[0][0] if rows else ""

    def row_count(self, table: str, database: str) -> int:
        """Count the rows of a table; raise `ProgramFailed` if it is missing."""
        return int(self.value(f"SELECT count(*) FROM {identifier(table)}", database))  # noqa: S608 - quoted


class MariadbTarget(Target):
    """A server, and a user that may create databases; `scratch` is private."""

    kind = "mariadb"
    suffix = SUFFIX
    globals_name = USERS

    def __init__(self, server: MariadbServer, scratch: Path) -> None:
        self._server = server
        self._scratch = scratch

    def plan_obstacle(self, database: str, names: Sequence[str], stream: Stream) -> str:
        """Return why a dump cannot replace a database, or "".

        `names` are the database names under which data is set aside. The whole dump is read.
        """
        with self._connected("reading", database) as programs:
            if reason := mariadb_move.server_obstacle(programs, dump_version(stream)):
                return reason
            if reason := mariadb_move.move_obstacle(programs, database):
                return reason
            if reason := grant_obstacle(programs, *names):
                return reason
            return self._dump_obstacle(programs, database, stream)

    def database_id(self, database: str) -> str:
        """Return a digest of the names in a database; "" if it does not exist."""
        with self._connected("reading", database) as programs:
            return mariadb_move.summarise(programs, database).digest

    def size_bytes(self, database: str) -> int:
        """Return the size of a database; 0 if it has no content."""
        with self._connected("reading", database) as programs:
            return mariadb_move.summarise(programs, database).size_bytes

    def content(self, database: str) -> DatabaseContent:
        """Return the content of a database, which a move needs."""
        with self._connected("reading", database) as programs:
            return mariadb_move.read_content(programs, database)

    def move(
        self, content: DatabaseContent, old: str, new: str, *, is_aside: bool, kept_as: str = ""
    ) -> None:
        """Move the content of database `old` to the name `new`.

        The call may be repeated after an interruption. If `is_aside` is true, the data is set aside
        under the name `new` without stored code; no other account may have rights on this name. If
        another program creates tables under the name `new` that prevent the move, they are moved to
        `kept_as`.
        """
        with self._connected("moving", old) as programs:
            if is_aside and (reason := grant_obstacle(programs, new)):
                raise TargetFailed(reason)
            mariadb_move.move(programs, content, old, new, with_code=not is_aside, kept_as=kept_as)

    def drop_if_empty(self, database: str, content: DatabaseContent) -> None:
        """Drop a database after its content was moved, unless it is used again."""
        with self._connected("dropping", database) as programs:
            mariadb_move.drop_if_empty(programs, database, content)

    def stage(self, database: str, name: str, stream: Stream) -> tuple[DatabaseContent, int]:
        """Load a dump of database `name` into the new database `database`.

        Return its content with the definers of the dump, and the size of the dump. The account that
        loads the dump has rights on this database only. Raise `TargetFailed` if the server refuses
        a statement.
        """
        with self._connected("loading", name) as programs:
            if reason := grant_obstacle(programs, database):
                raise TargetFailed(reason)
            execute(programs, f"CREATE DATABASE {identifier(database)}")
            code = DumpCode()
            with limited_account(programs, [database], ALL_RIGHTS, purpose=name) as limited:
                result = _load(limited, database, lambda: code.loadable(stream))
                # Read the content while the limited account, its definer, exists. Without the
                # definer of a view, the server writes the name of the database into the text of the
                # view.
                loaded = mariadb_move.read_content(programs, database)
            if reason := self._code_obstacle(programs, name, code):
                raise TargetFailed(f"database {name}: {reason}")
            return _with_definers(loaded, code.definers, database), result.bytes

    @contextmanager
    def limited_queries(self, databases: Sequence[str]) -> Iterator[LimitedQueries]:
        """Open queries of an account that can read only these databases."""
        with (
            self._connected("reading", databases[0]) as programs,
            limited_account(programs, databases, READ_RIGHTS, purpose=databases[0]) as limited,
        ):
            yield LimitedQueries(programs=limited)

    @contextmanager
    def _connected(self, doing: str, database: str) -> Iterator[MariadbPrograms]:
        try:
            with self._server.connect(self._scratch) as programs:
                yield programs
        except ProgramFailed as error:
            raise TargetFailed(f"{doing} database {database} failed: {error}") from error

    def _dump_obstacle(self, programs: MariadbPrograms, database: str, stream: Stream) -> str:
        code = DumpCode()
        for _ in code.loadable(stream):
            pass
        return self._code_obstacle(programs, database, code)

    def _code_obstacle(self, programs: MariadbPrograms, database: str, code: DumpCode) -> str:
        reasons = [code.obstacle] if code.obstacle else []
        for definer in sorted(set(code.definers.values())):
            reasons += [reason] if (reason := definer_obstacle(programs, definer, database)) else []
        return f"{reasons[0]}. Use `standfast backup restore`." if reasons else ""

    def _restore(self, database: str, name: str, stream: Stream, *, replace: bool) -> TargetResult:
        with self._server.connect(self._scratch) as programs:
            exists = database in programs.column("SHOW DATABASES")
            if exists and not _has_content(programs, database):
                return _load(programs, database, stream)
            if exists and not replace:
                raise UnsafePath(
                    f"database {database} is not empty, and was not changed. Restore into "
                    "another database, or use --replace"
                )
            if exists:
                read_through(stream)
                programs.column(f"DROP DATABASE {identifier(database)}")
            programs.column(f"CREATE DATABASE {identifier(database)}")
            with _drop_on_failure(programs, database):
                return _load(programs, database, stream)

    def _restore_globals(self, stream: Stream) -> TargetResult:
        with self._server.connect(self._scratch) as programs:
            statements, size = checked_statements(stream, MARIADB)
            command = programs.command("mariadb", *BATCH, "--force")
            _, sent, lines = feed(command, lambda: iter([_SETTINGS, statements]))
            errors = [found for line in lines if (found := _ERROR.match(line))]
            if not sent or any(not found.group(3) for found in errors):
                raise ProgramFailed(_error_text(lines))
            wrong = [found for found in errors if found.group(1) not in _EXISTS]
            return TargetResult(
                database="",
                bytes=size,
                problems=tuple(
                    f"a statement was refused: error {found.group(1)}"
                    for found in wrong[:_MAX_NAMED]
                ),
                problems_total=len(wrong),
            )


def _load(programs: MariadbPrograms, database: str, stream: Stream) -> TargetResult:
    command = programs.command("mariadb", *BATCH, f"--database={database}")
    status, sent, lines = feed(command, stream)
    if status:
        raise ProgramFailed(_error_text(lines))
    return TargetResult(database=database, bytes=sent)


def _with_definers(
    content: DatabaseContent, definers: Mapping[tuple[str, str], Account], database: str
) -> DatabaseContent:
    """Return the content with the definers that the dump names."""
    code = []
    for item in content.code:
        definer = definers.get((item.kind, item.name))
        if definer is None or (item.kind == "VIEW" and f"{identifier(database)}." in item.tail):
            raise ProgramFailed(
                f"the {item.kind.lower()} {item.name} of the dump has no definer, or reads another"
                " database"
            )
        code.append(item.defined_by(definer))
    if len(code) != len(definers):
        raise ProgramFailed("the load lacks stored code of the dump")
    return replace(content, code=tuple(code))


@contextmanager
def _drop_on_failure(programs: MariadbPrograms, database: str) -> Iterator[None]:
    """Drop the new database if the block fails: a part of it is useless."""
    try:
        yield
    except BaseException:
        with suppress(BackupError, ProgramFailed):
            programs.column(f"DROP DATABASE {identifier(database)}")
        raise


def _has_content(programs: MariadbPrograms, database: str) -> bool:
    name = identifier(database)
    routines = "SELECT 1 FROM information_schema.routines WHERE routine_schema"
    queries = (
        f"SHOW FULL TABLES FROM {name}",
        f"SHOW EVENTS FROM {name}",
        f"{routines} = {literal(database)} LIMIT 1",
    )
    return any(programs.rows(query) for query in queries)


def _error_text(lines: list[str]) -> str:
    """Return number and line of an error, without its text, which quotes data."""
    found = next((found for line in reversed(lines) if (found := _ERROR.match(line))), None)
    if found is None:
        return "the program gave no readable error"
    at = f" in line {found.group(3)} of the dump" if found.group(3) else ""
    helps = (
        ". If it is still running, a row is larger than it accepts: raise max_allowed_packet"
        if found.group(1) in _TOO_LARGE
        else ""
    )
    return f"the server refused with error {found.group(1)} ({found.group(2)}){at}{helps}"
