"""PostgreSQL server, reached through psql, pg_dump and its other programs.

- Settings of the environment and the home folder are ignored: PG variables, ~/.pgpass and service
  files. The password is passed only in the environment of the program that is started.
- The name of a database is passed in the environment, so that no program takes it for a connection
  string.
- A program that is older than the server is refused before it starts, because it would fail later.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backup.sources.client_programs import (
    Command,
    ProgramFailed,
    bare_environment,
    find_program,
    program_output,
)

Tls = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

_CONNECT_SECONDS = 15
_VERSION = re.compile(rb"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, kw_only=True)
class PostgresqlServer:
    """Address and user of a server; `host` is a name or a socket folder."""

    host: str
    user: str
    port: int = 5432
    password: Callable[[], str] | None = field(default=None, repr=False)
    tls: Tls | None = None  # None: prefer for a server on this machine, otherwise verify-full
    ca_file: Path | None = None
    programs: Path | None = None  # the folder with psql, pg_dump and the other programs
    hidden: tuple[Path, ...] = ()  # paths that the programs cannot read

    def require_restrict(self) -> None:
        """Raise `ProgramFailed` if psql lacks `\\restrict`.

        With `\\restrict`, psql refuses its meta-commands (such as `\\!`) in a dump.
        """
        path = self._program("psql")
        helps = program_output(self._command(path, ["--help=commands"], "postgres"))
        if b"\\restrict" not in helps:
            raise ProgramFailed(
                f"{path} has no \\restrict, so a dump could start programs here. Install"
                " postgresql-client 18, 17.6, 16.10, 15.14, 14.19, 13.22 or newer"
            )

    def command(self, program: str, *arguments: str, database: str = "postgres") -> Command:
        """Return a command; raise `ProgramFailed` for a program that is too old."""
        path = self._program(program)
        if program != "psql":
            self._check_version(path, program)
        return self._command(path, arguments, database)

    def column(self, sql: str, *, database: str = "postgres") -> list[str]:
        """Return the only column of a statement's rows.

        Raise `ProgramFailed` with the server's error.
        """
        options = ["-X", "-A", "-t", "-q", "-w", "-0", "-v", "ON_ERROR_STOP=1", "-c", sql]
        # In a cluster with the encoding SQL_ASCII, a name may be invalid UTF-8.
        answer = program_output(self._command(self._program("psql"), options, database)).decode(
            "utf-8", "replace"
        )
        return answer.removesuffix("\n").removesuffix("\0").split("\0") if answer else []

    def value(self, sql: str, *, database: str = "postgres") -> str:
        """Return the only value of a statement."""
        return next(iter(self.column(sql, database=database)), "")

    def version(self) -> int:
        """Return the server's major version."""
        return int(self.value("SELECT current_setting('server_version_num')::int / 10000"))

    def _program(self, name: str) -> str:
        return find_program([name], self.programs, "postgresql-client")

    def _check_version(self, path: str, name: str) -> None:
        match = _VERSION.search(program_output(self._command(path, ["--version"], "postgres")))
        own_version, server_version = int(match.group(1)) if match else 0, self.version()
        if own_version < server_version:
            raise ProgramFailed(
                f"{name} is of version {own_version} and the server of version {server_version}."
                f" Install the package postgresql-client-{server_version}"
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
        is_local = self.host.startswith("/") or self.host in ("localhost", "127.0.0.1", "::1")
        return "prefer" if is_local else "verify-full"


def literal(text: str) -> str:
    """Return a text quoted for SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'
