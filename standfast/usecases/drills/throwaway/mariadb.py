"""Throwaway MariaDB server for dumps: programs, load, checks.

A throwaway server is used for one drill, a test restore, and then deleted.

- The server must not be older than the server of the dump. A dump of MySQL is not loaded.
- Durability, events and the binary log are off, because the data is deleted after the drill.
- The drill connects as its own database user, because a dump of users may change `root`.
- Foreign keys are not checked while a dump is loaded. After the load, a query checks each foreign
  key, and CHECK TABLE checks each table.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backup.sources.client_programs import Command, ProgramFailed, bare_environment, program_output
from backup.sources.mariadb.server import MariadbServer, identifier, literal
from backup.targets import Stream, TargetResult
from backup.targets.mariadb import MariadbTarget
from backup.targets.mariadb_dump import dump_version, parse_version
from standfast.plurals import counted
from standfast.usecases.drills.throwaway import Structure, ThrowawayServer
from standfast.usecases.drills.throwaway.dumped_rows import inserted_rows
from standfast.usecases.drills.throwaway.server_process import Isolation, ServerProcess

_USER = "standfast_drill"
_NEEDED = ("mariadb-install-db", "mariadbd", "mariadb")
_SOCKET = "server.sock"
_OPTIONS = (
    "--skip-networking",
    "--skip-log-bin",
    "--event-scheduler=DISABLED",
    "--local-infile=0",
    "--max-allowed-packet=1G",
    "--innodb-flush-log-at-trx-commit=0",
    "--loose-innodb-doublewrite=OFF",
)
_CREATE_USER = f"""CREATE USER {_USER}@localhost;
GRANT ALL ON *.* TO {_USER}@localhost WITH GRANT OPTION;
"""
_FOREIGN_KEYS = """SELECT constraint_name, table_name, column_name, referenced_table_schema,
referenced_table_name, referenced_column_name FROM information_schema.key_column_usage
WHERE table_schema = {schema} AND referenced_table_name IS NOT NULL
ORDER BY table_name, constraint_name, ordinal_position"""
_TABLES = """SELECT table_name FROM information_schema.tables
WHERE table_schema = {schema} AND table_type = 'BASE TABLE'"""
_VERSIONED = """SELECT table_name FROM information_schema.tables
WHERE table_schema = {schema} AND table_type = 'SYSTEM VERSIONED'"""


@dataclass(frozen=True, kw_only=True)
class MariadbPrograms:
    """The paths of the installed server programs."""

    install: str
    server: str
    client_folder: Path


def find_programs(named: Path | None, dumps: Iterable[Stream]) -> MariadbPrograms:
    """Return the programs that can load these dumps.

    `named` is a folder to search first. Raise `ProgramFailed` with the package to install.
    """
    folders = [str(named)] if named else []
    search = ":".join([*folders, os.environ.get("PATH", ""), "/usr/sbin"])
    found = {name: shutil.which(name, path=search) for name in _NEEDED}
    install, server, client = (found[name] for name in _NEEDED)
    if install is None or server is None or client is None:
        missing = ", ".join(name for name, path in found.items() if path is None)
        raise ProgramFailed(f"{missing}: not found. Install the package mariadb-server")
    version = program_output(
        Command(arguments=(server, "--no-defaults", "--version"), environment=bare_environment())
    )
    installed = parse_version(version.decode("utf-8", "replace"))
    for dump in dumps:
        needed = _dumped_from(dump)
        if needed > installed:
            raise ProgramFailed(
                f"the dump is of MariaDB {_text(needed)}, and the server here is of version"
                f" {_text(installed)}. Install mariadb-server {_text(needed)} or newer"
            )
    return MariadbPrograms(install=install, server=server, client_folder=Path(client).parent)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _dumped_from(dump: Stream) -> tuple[int, int]:
    """Return the version of the dump's server; (0, 0) if unknown."""
    version = dump_version(dump)
    if version and "MariaDB" not in version:
        raise ProgramFailed(
            "the dump is of MySQL, and a drill loads dumps of MariaDB only. To load this dump in a"
            " drill, configure a check of kind `command` that runs your own program"
        )
    return parse_version(version)


class _DrillTarget(MariadbTarget):
    """Target that loads users as root, and databases as the drill's user.

    MariaDB accepts the grant of a role, or of PROXY, only from its administrator, which is root.
    """

    def __init__(self, server: MariadbServer, scratch: Path) -> None:
        super().__init__(server, scratch)
        self._of_root = MariadbTarget(replace(server, user="root"), scratch)

    def restore_globals(self, stream: Stream) -> TargetResult:
        """Load users, roles and grants; raise `TargetFailed` without a server."""
        return self._of_root.restore_globals(stream)


class ThrowawayMariadb(ThrowawayServer):
    """An empty server in a folder that does not exist yet."""

    def __init__(
        self,
        folder: Path,
        programs: MariadbPrograms,
        isolation: Isolation,
        hidden: tuple[Path, ...],
    ) -> None:
        self._programs = programs
        self.process = ServerProcess(
            folder=folder, socket=_SOCKET, isolation=isolation, hidden=hidden
        )
        self._client = folder / "client"
        self._server = MariadbServer(
            host=str(folder / _SOCKET), user=_USER, programs=programs.client_folder, hidden=hidden
        )
        self.target = _DrillTarget(self._server, self._client)

    def start(self) -> None:
        self.process.create_folder()
        folder = self.process.folder
        self._client.mkdir(mode=0o700)
        data = f"--datadir={folder / 'data'}"
        self.process.run(
            self._programs.install,
            "--no-defaults",
            data,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        # Only the owner of the folder can connect to the socket.
        first = folder / "first.sql"
        first.write_text(_CREATE_USER)
        self.process.start(
            self._programs.server,
            "--no-defaults",
            data,
            f"--socket={folder / _SOCKET}",
            f"--init-file={first}",
            f"--secure-file-priv={folder}",
            *_OPTIONS,
        )
        self.process.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return self.value("SELECT 1", "mysql") == "1"
        except ProgramFailed:
            return False

    @property
    def environment(self) -> Mapping[str, str]:
        return {"MYSQL_UNIX_PORT": self._server.host, "MYSQL_USER": _USER}

    def value(self, sql: str, database: str) -> str:
        rows = self._rows(sql, database)
        return rows[0][0] if rows else ""

    def row_count(self, table: str, database: str) -> int:
        return int(self.value(f"SELECT count(*) FROM {identifier(table)}", database))  # noqa: S608 - quoted

    def dumped_rows(self, dump: Path) -> Mapping[str, int]:
        with dump.open("rb") as lines:
            return inserted_rows(lines)

    def _loaded_rows(self, tables: Sequence[str], database: str) -> list[int]:
        found = self._rows(_VERSIONED.format(schema=literal(database)), database)
        versioned = {identifier(row[0]) for row in found}
        with_history = {
            table: " FOR SYSTEM_TIME ALL" if table in versioned else "" for table in tables
        }
        counts = ", ".join(
            f"(SELECT count(*) FROM {table}{history})"  # noqa: S608 - quoted
            for table, history in with_history.items()
        )
        return [int(count) for count in self._rows(f"SELECT {counts}", database)[0]]

    def limit_statements(self, seconds: float, database: str) -> None:
        self.value(f"SET GLOBAL max_statement_time = {seconds}", database)

    def structure(self, database: str) -> Structure:
        orphans = sum(int(self.value(query, database)) for query in self._orphans(database))
        tables = [row[0] for row in self._rows(_TABLES.format(schema=literal(database)), database)]
        damaged = [table for table in tables if not self._is_sound(table, database)]
        parts = [
            f"{counted(orphans, 'row violates', 'rows violate')} a foreign key" if orphans else "",
            f"CHECK TABLE found {counted(len(damaged), 'damaged table')}" if damaged else "",
        ]
        return Structure(problem="; ".join(part for part in parts if part))

    def _orphans(self, database: str) -> Iterator[str]:
        """Yield for each foreign key a query that counts rows without a parent."""
        keys: defaultdict[tuple[str, str], list[list[str]]] = defaultdict(list)
        for row in self._rows(_FOREIGN_KEYS.format(schema=literal(database)), database):
            keys[row[1], row[0]].append(row)
        for (table, _), columns in keys.items():
            parent = f"{identifier(columns[0][3])}.{identifier(columns[0][4])}"
            pairs = [(identifier(row[2]), identifier(row[5])) for row in columns]
            on = " AND ".join(f"c.{own} = p.{other}" for own, other in pairs)
            is_set = " AND ".join(f"c.{own} IS NOT NULL" for own, _ in pairs)
            yield (
                f"SELECT count(*) FROM {identifier(table)} c WHERE {is_set}"  # noqa: S608 - quoted
                f" AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {on})"
            )

    def _is_sound(self, table: str, database: str) -> bool:
        rows = self._rows(f"CHECK TABLE {identifier(table)}", database)
        return bool(rows) and rows[-1][2:] == ["status", "OK"]

    def _rows(self, sql: str, database: str) -> list[list[str]]:
        with self._server.connect(self._client) as programs:
            return programs.rows(f"USE {identifier(database)}; {sql}")
