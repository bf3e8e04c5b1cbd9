"""A PostgreSQL server as its own programs reach it: psql, pg_dump, pg_basebackup, pg_restore.

- Nothing is taken from the environment or the home folder: no PG variable, no ~/.pgpass, no service
  file; the password stands in the environment of the program alone.
- A database is named where its name cannot be taken for a connection string.
- A program older than the server is refused before it starts: it would give up halfway.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backup.sources.client_programs import (
    Command,
    ProgramFailed,
    answer_of,
    bare_environment,
    find_program,
)

Tls = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

_CONNECT_SECONDS = 15
_VERSION = re.compile(rb"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, kw_only=True)
class PostgresqlServer:
    """Where a server is and who asks; `host` is a name, or the folder of its socket."""

    host: str
    user: str
    port: int = 5432
    password: Callable[[], str] | None = field(default=None, repr=False)
    tls: Tls | None = None  # None: verify-full, and nothing on this machine
    ca_file: Path | None = None
    programs: Path | None = None  # the folder with pg_dump and the others
    hidden: tuple[Path, ...] = ()  # what the programs cannot read

    def refuse_without_restrict(self) -> None:
        """Raise `ProgramFailed` where psql cannot refuse the commands of its own in its input."""
        path = self._program("psql")
        helps = answer_of(self._command(path, ["--help=commands"], "postgres"))
        if b"\\restrict" not in helps:
            raise ProgramFailed(
                f"{path} has no \\restrict, so a dump could start programs here: install"
                " postgresql-client 18, 17.6, 16.10, 15.14, 14.19, 13.22 or newer"
            )

    def command(self, program: str, *arguments: str, database: str = "postgres") -> Command:
        """A call of one of PostgreSQL's programs, which must not be older than the server."""
        path = self._program(program)
        if program != "psql":
            self._refuse_older(path, program)
        return self._command(path, arguments, database)

    def column(self, sql: str, *, database: str = "postgres") -> list[str]:
        """The one column that a statement gives; ProgramFailed with what the server said."""
        options = ["-X", "-A", "-t", "-q", "-w", "-0", "-v", "ON_ERROR_STOP=1", "-c", sql]
        answer = answer_of(self._command(self._program("psql"), options, database)).decode()
        return answer.removesuffix("\n").removesuffix("\0").split("\0") if answer else []

    def value(self, sql: str, *, database: str = "postgres") -> str:
        """The one value that a statement gives."""
        return next(iter(self.column(sql, database=database)), "")

    def version(self) -> int:
        """The server's major version."""
        return int(self.value("SELECT current_setting('server_version_num')::int / 10000"))

    def _program(self, name: str) -> str:
        return find_program([name], self.programs, "postgresql-client")

    def _refuse_older(self, path: str, name: str) -> None:
        told = _VERSION.search(answer_of(self._command(path, ["--version"], "postgres")))
        ours, theirs = int(told.group(1)) if told else 0, self.version()
        if ours < theirs:
            raise ProgramFailed(
                f"{name} is of version {ours} and the server of version {theirs}:"
                f" install the package postgresql-client-{theirs}"
            )

    def _command(self, path: str, arguments: Sequence[str], database: str) -> Command:
        password = None if self.password is None else self.password()
        environment = {
            **bare_environment(),
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": database,
            "PGAPPNAME": "standfast",
            "PGCONNECT_TIMEOUT": str(_CONNECT_SECONDS),
            "PGPASSFILE": "/dev/null",
            "PGSERVICEFILE": "/dev/null",
            "PGSYSCONFDIR": "/dev/null",
            "PGSSLMODE": self._tls(),
            "PGCLIENTENCODING": "UTF8",
        }
        if self.ca_file is not None:
            environment["PGSSLROOTCERT"] = str(self.ca_file)
        elif self._tls().startswith("verify"):
            environment["PGSSLROOTCERT"] = "system"
        if password is not None:
            environment["PGPASSWORD"] = password
        return Command(
            arguments=(path, *arguments),
            environment=environment,
            secrets=() if password is None else (password,),
            hidden=self.hidden,
        )

    def _tls(self) -> str:
        if self.tls is not None:
            return self.tls
        is_here = self.host.startswith("/") or self.host in ("localhost", "127.0.0.1", "::1")
        return "prefer" if is_here else "verify-full"


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
