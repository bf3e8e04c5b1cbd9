"""Into a MariaDB or MySQL server: dumps and users by `mariadb`, or MySQL's own `mysql`.

- A database that is lacking is made; its character set is the first statement of the dump.
- MariaDB cannot rename a database: for `replace` the whole dump is read once before the database
  that stands there is dropped, so that damage in the vault shows while there is something to lose.
- The first statement that the server refuses ends it: half a table is worse than a clear failure.
- Dumps cannot start programs or read files of this machine; of users and grants only statements
  about those are sent.
- Users that exist stay; their grants become what they were, and by those, in MariaDB, their
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
from backup.targets import Stream, Taken, Target, feed, read_through
from backup.targets.statement_allowlist import MARIADB, checked_statements

_MOST_NAMED = 20
_ALREADY_THERE = {"1396"}  # CREATE USER of one that exists
_TOO_LARGE = {"1153", "2006"}  # the second, where the server hung up before it could say so
_ERROR = re.compile(r"^ERROR (\d+) \((\w+)\)(?: at line (\d+))?")
_SETTINGS = b"SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';\n"
# In binary mode the program runs no command of its own that stands in a dump.
_BATCH = ("--batch", "--binary-mode", "--max-allowed-packet=1G")


class MariadbTarget(Target):
    """A server, as a user who may create databases; `scratch` is a private folder."""

    kind = "mariadb"
    suffix = SUFFIX
    globals_name = USERS

    def __init__(self, server: MariadbServer, scratch: Path) -> None:
        self._server = server
        self._scratch = scratch

    def _restore(self, database: str, name: str, stream: Stream, *, replace: bool) -> Taken:
        with self._server.connect(self._scratch) as programs:
            is_there = database in programs.column("SHOW DATABASES")
            if is_there and not _holds_something(programs, database):
                return _into(programs, database, stream)
            if is_there and not replace:
                raise UnsafePath(
                    f"database {database} is not empty, and was left as it is. Restore into"
                    " another one, or say --replace"
                )
            if is_there:
                read_through(stream)
                programs.column(f"DROP DATABASE {identifier(database)}")
            programs.column(f"CREATE DATABASE {identifier(database)}")
            with _made(programs, database):
                return _into(programs, database, stream)

    def _restore_globals(self, stream: Stream) -> Taken:
        with self._server.connect(self._scratch) as programs:
            statements, size = checked_statements(stream, MARIADB)
            command = programs.command("mariadb", *_BATCH, "--force")
            _, sent, lines = feed(command, lambda: iter([_SETTINGS, statements]))
            errors = [found for line in lines if (found := _ERROR.match(line))]
            if not sent or any(not found.group(3) for found in errors):
                raise ProgramFailed(_shown(lines))
            wrong = [found for found in errors if found.group(1) not in _ALREADY_THERE]
            return Taken(
                database="",
                bytes=size,
                problems=tuple(
                    f"a statement was refused: error {found.group(1)}"
                    for found in wrong[:_MOST_NAMED]
                ),
                problems_total=len(wrong),
            )


def _into(programs: MariadbPrograms, database: str, stream: Stream) -> Taken:
    command = programs.command("mariadb", *_BATCH, f"--database={database}")
    status, sent, lines = feed(command, stream)
    if status:
        raise ProgramFailed(_shown(lines))
    return Taken(database=database, bytes=sent)


@contextmanager
def _made(programs: MariadbPrograms, database: str) -> Iterator[None]:
    """Drop what was made when the block fails: half a database serves nobody."""
    try:
        yield
    except BaseException:
        with suppress(BackupError, ProgramFailed):
            programs.column(f"DROP DATABASE {identifier(database)}")
        raise


def _holds_something(programs: MariadbPrograms, database: str) -> bool:
    name = identifier(database)
    routines = "SELECT 1 FROM information_schema.routines WHERE routine_schema"
    looks = (
        f"SHOW FULL TABLES FROM {name}",
        f"SHOW EVENTS FROM {name}",
        f"{routines} = {literal(database)} LIMIT 1",
    )
    return any(programs.rows(look) for look in looks)


def _shown(lines: list[str]) -> str:
    """The error's number and place: its text would quote the data of the statement."""
    found = next((found for line in reversed(lines) if (found := _ERROR.match(line))), None)
    if found is None:
        return "the program said nothing that could be understood"
    at = f" in line {found.group(3)} of the dump" if found.group(3) else ""
    helps = (
        ": where it has not gone away, a row is larger than it takes; raise its max_allowed_packet"
        if found.group(1) in _TOO_LARGE
        else ""
    )
    return f"the server refused with error {found.group(1)} ({found.group(2)}){at}{helps}"
