"""Throwaway PostgreSQL server for dumps: programs, load, checks.

A throwaway server is used for one drill, a test restore, and then deleted.

- All programs are of one version: the oldest installed version that is not older than the server of
  the dump.
- Durability is off, because the data is deleted after the drill.
- The first superuser is `postgres`, as on most servers. A dump of roles names the grantor of each
  grant, which is usually the first superuser of the source. PostgreSQL 16 and newer rejects these
  grants if the first superuser of the new server has another name.
- `pg_restore` adds each foreign key and constraint after the rows. The server then checks all rows.
  A constraint that is NOT VALID in the source is not checked.
"""

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.sources.client_programs import (
    Command,
    ProgramFailed,
    bare_environment,
    program_output,
    run_program,
)
from backup.sources.postgresql.server import PostgresqlServer, identifier
from backup.targets import Stream
from backup.targets.postgresql import PostgresqlTarget, dumped_version
from standfast.plurals import counted
from standfast.usecases.core.installation import system_clock
from standfast.usecases.drills.throwaway import Structure, ThrowawayServer
from standfast.usecases.drills.throwaway.dumped_rows import copied_rows
from standfast.usecases.drills.throwaway.server_process import (
    START_SECONDS,
    Isolation,
    ServerProcess,
)

_USER = "postgres"
_READ_BYTES = 1024 * 1024
_PROGRAMS = ("initdb", "postgres", "pg_restore", "psql")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
SETTINGS = {
    "listen_addresses": "",
    "dynamic_shared_memory_type": "mmap",  # uses the server's folder, so that no other file remains
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_statement": "none",
    "log_min_error_statement": "panic",  # a statement may contain personal data
}
_NOT_VALIDATED = "SELECT count(*) FROM pg_constraint WHERE NOT convalidated"
_INVALID_INDEXES = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@dataclass(frozen=True, kw_only=True, order=True)
class PostgresqlPrograms:
    """The programs of one installed version."""

    version: int  # major version
    folder: Path


def find_programs(named: Path | None, dumps: Iterable[Stream]) -> PostgresqlPrograms:
    """Return the programs that can load these dumps.

    `named` is a folder to search first. Raise `ProgramFailed` with the package to install.
    """
    installed = installed_programs(named)
    needed = max((_dumped_from(max(installed), dump) for dump in dumps), default=0)
    fitting = [programs for programs in installed if programs.version >= needed]
    if not fitting:
        raise ProgramFailed(
            f"the dump is of PostgreSQL {needed}, and the newest server programs here are of"
            f" version {max(installed).version}. Install the package postgresql-{needed}"
        )
    return min(fitting)


def installed_programs(named: Path | None) -> list[PostgresqlPrograms]:
    """Return the programs of each installed version, first those in `named`.

    Raise `ProgramFailed` with the package to install if there are none.
    """
    on_path = [Path(folder) for folder in os.environ.get("PATH", "").split(":") if folder]
    packaged = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    folders = dict.fromkeys([*([] if named is None else [named]), *on_path, *packaged])
    found = [
        PostgresqlPrograms(version=_version(folder), folder=folder)
        for folder in folders
        if all(shutil.which(program, path=str(folder)) for program in _PROGRAMS)
    ]
    if not found:
        raise ProgramFailed(
            f"{', '.join(_PROGRAMS)}: not found in one folder. Install the package postgresql"
        )
    return found


def _version(folder: Path) -> int:
    command = Command(
        arguments=(str(folder / "postgres"), "--version"), environment=bare_environment()
    )
    found = _VERSION.search(program_output(command).decode())
    return int(found.group(1)) if found else 0


def _dumped_from(programs: PostgresqlPrograms, dump: Stream) -> int:
    """Return the major version of the dump's server."""
    command = Command(
        arguments=(str(programs.folder / "pg_restore"), "--format=custom", "--list"),
        environment=bare_environment(),
    )
    try:
        return dumped_version(command, dump)
    except ProgramFailed as error:
        raise ProgramFailed(
            f"pg_restore of version {programs.version} cannot read the dump ({error}). Install the"
            " package postgresql of the dumped server's version"
        ) from error


class ThrowawayPostgresql(ThrowawayServer):
    """An empty cluster in a folder that does not exist yet."""

    def __init__(
        self,
        folder: Path,
        programs: PostgresqlPrograms,
        isolation: Isolation,
        hidden: tuple[Path, ...],
    ) -> None:
        self._programs = programs
        self.process = ServerProcess(
            folder=folder, socket=".s.PGSQL.5432", isolation=isolation, hidden=hidden
        )
        self._server = PostgresqlServer(
            host=str(folder), user=_USER, programs=programs.folder, hidden=hidden
        )
        self.target = PostgresqlTarget(self._server, now=system_clock)

    def start(self) -> None:
        self.process.create_folder()
        data = self.process.folder / "data"
        self.process.run(
            str(self._programs.folder / "initdb"),
            f"--pgdata={data}",
            f"--username={_USER}",
            "--auth=trust",  # only the owner of the folder reaches the socket
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        self._serve(self._programs, data, SETTINGS, START_SECONDS)

    def _serve(
        self, programs: PostgresqlPrograms, data: Path, settings: Mapping[str, str], seconds: float
    ) -> None:
        """Start the server with these settings, and wait until it answers."""
        settings = {**settings, "unix_socket_directories": str(self.process.folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.process.start(str(programs.folder / "postgres"), "-D", str(data), *options)
        self.process.wait_until(self._answers, seconds)

    def _answers(self) -> bool:
        try:
            return self.value("SELECT 1", "postgres") == "1"
        except ProgramFailed:
            return False

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PGHOST": str(self.process.folder), "PGPORT": "5432", "PGUSER": self._server.user}

    def value(self, sql: str, database: str) -> str:
        return self._server.value(sql, database=database)

    def row_count(self, table: str, database: str) -> int:
        name = ".".join(identifier(part) for part in table.split("."))
        return int(self.value(f"SELECT count(*) FROM {name}", database))  # noqa: S608 - quoted

    def dumped_rows(self, dump: Path) -> Mapping[str, int]:
        options = ("--format=custom", "--data-only", "--file=-", str(dump))
        command = self._server.command("pg_restore", *options)
        with run_program(command, stdout=True) as program:
            assert program.process.stdout is not None  # noqa: S101 - started with stdout=True
            with open(program.process.stdout.fileno(), "rb", _READ_BYTES, closefd=False) as lines:
                rows = copied_rows(lines)
            program.finish()
        return rows

    def _loaded_rows(self, tables: Sequence[str], database: str) -> list[int]:
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)  # noqa: S608 - quoted
        return [
            int(n)
            for n in self._server.column(f"SELECT unnest(ARRAY[{counts}])", database=database)
        ]

    def limit_statements(self, seconds: float, database: str) -> None:
        milliseconds = max(1, round(seconds * 1000))
        name = identifier(database)
        self.value(f"ALTER DATABASE {name} SET statement_timeout = {milliseconds}", database)

    def structure(self, database: str) -> Structure:
        constraints = int(self.value(_NOT_VALIDATED, database))
        indexes = int(self.value(_INVALID_INDEXES, database))
        parts = [
            f"{counted(constraints, 'constraint is', 'constraints are')} NOT VALID"
            if constraints
            else "",
            f"{counted(indexes, 'index is', 'indexes are')} invalid" if indexes else "",
        ]
        return Structure(unproven=" and ".join(part for part in parts if part))
