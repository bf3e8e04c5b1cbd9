"""MariaDB target: dumps and users through `mariadb`, or MySQL's `mysql`.

- A missing database is created; the first statement of the dump sets its character set.
- MariaDB cannot rename a database: for `replace`, the whole dump is read once before the existing
  database is dropped, so that damage in the vault is found before anything is lost.
- The first statement that the server refuses ends the restore: half a table is worse than a clear
  failure.
- Dumps cannot start programs or read files of this machine; of users and grants, only statements
  about those are sent.
- Existing users stay; their grants are set to those of the dump, and with them, in MariaDB, their
  passwords.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup.errors import BackupError, UnsafePath
from backup.sources.client_programs import ProgramFailed
from backup.sources.mariadb.dump_source import SUFFIX, USERS
from backup.sources.mariadb.server import MariadbPrograms, MariadbServer, identifier, literal
from backup.targets import Stream, Target, TargetResult, feed, read_through
from backup.targets.statement_allowlist import MARIADB, checked_statements

_MAX_NAMED = 20
_EXISTS = {"1396"}  # CREATE USER of an existing user
_TOO_LARGE = {"1153", "2006"}  # the second if the server closed the connection first
_ERROR = re.compile(r"^ERROR (\d+) \((\w+)\)(?: at line (\d+))?")
_SETTINGS = b"SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';\n"
# In binary mode, the client runs no command of its own from a dump.
_BATCH = ("--batch", "--binary-mode", "--max-allowed-packet=1G")


class MariadbTarget(Target):
    """A server, with a user that may create databases; `scratch` is private."""

    kind = "mariadb"
    suffix = SUFFIX
    globals_name = USERS

    def __init__(self, server: MariadbServer, scratch: Path) -> None:
        self._server = server
        self._scratch = scratch

    def _restore(self, database: str, name: str, stream: Stream, *, replace: bool) -> TargetResult:
        with self._server.connect(self._scratch) as programs:
            exists = database in programs.column("SHOW DATABASES")
            if exists and not _has_content(programs, database):
                return _load(programs, database, stream)
            if exists and not replace:
                raise UnsafePath(
                    f"database {database} is not empty, and was not changed. Restore into another"
                    " one, or use --replace"
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
            command = programs.command("mariadb", *_BATCH, "--force")
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
    command = programs.command("mariadb", *_BATCH, f"--database={database}")
    status, sent, lines = feed(command, stream)
    if status:
        raise ProgramFailed(_error_text(lines))
    return TargetResult(database=database, bytes=sent)


@contextmanager
def _drop_on_failure(programs: MariadbPrograms, database: str) -> Iterator[None]:
    """Drop the new database if the block fails: half a database is useless."""
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
    """Return the error's number and place; its text would quote data."""
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
