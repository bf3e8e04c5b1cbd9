"""MariaDB source: version, privileges, tables; a dump of each database.

- A dump is streamed from `mariadb-dump --single-transaction`, with routines, triggers and events.
  It is never stored on a local disk. For MySQL servers, MySQL's `mysqldump` can be used too.
- A dump can be loaded into a database of any name. It names no database, and its first statement
  sets the character set of the database into which it is loaded.
- Users, roles and their grants are in `users.grants`, as SQL statements with password hashes.
- A transaction shows a consistent state of InnoDB tables only. Each other table is dumped in its
  state at the time of its own dump. `obstacles` names these tables.
- System-versioned tables are dumped with their history. If `mariadb-dump` cannot dump the history,
  the recovery point (the restorable backup) is partial and names the history as missing.
- A dump that was cut off between two statements would load without an error. So each dump must end
  with the last line that `mariadb-dump` writes.
- `mariadb-dump` supports MySQL servers from 5.7 on. It writes generated columns and roles in a form
  that only MariaDB accepts. If a MySQL server has them, the recovery point is partial and names
  them as missing.
- If the user lacks some rights, `mariadb-dump` omits triggers or routines without an error. So the
  grants are read first, and the source fails if a database cannot be dumped completely.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from backup.errors import SourceFailed
from backup.sources import Obstacle, OpenSource, Source
from backup.sources.client_programs import ProgramFailed, program_output
from backup.sources.database_dumps import Dump, OpenDumps, dump_file_name
from backup.sources.mariadb.server import MariadbPrograms, MariadbServer
from backup.sources.output_completeness import TextEndMarker

SUFFIX = ".sql"
USERS = "users.grants"  # no database's file can have this name
_USERS_DATABASE = "mysql"
_SYSTEM_DATABASES = ("information_schema", "performance_schema", "mysql", "sys")
_NEEDED_RIGHTS = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
_GRANT = re.compile(
    r"(?P<verb>GRANT|REVOKE) (?P<rights>.+?) ON (?P<where>\*\.\*|`(?:[^`]|``)*`\.\*) (?:TO|FROM) "
)
# The table `mysql.proc` contains the routines, except in MySQL from 8.0 on.
_SEES_PROC = "GRANT SELECT ON `mysql`.`proc` TO "
_ENDING = partial(TextEndMarker, b"\n-- Dump completed")  # also of MySQL's mysqldump
_DUMP_OPTIONS = (
    "--single-transaction",
    "--quick",
    "--routines",
    "--triggers",
    "--events",
    "--hex-blob",
    "--skip-dump-date",
    "--no-tablespaces",
    "--max-allowed-packet=1G",
)
_HISTORY = "--dump-history"
# Without this option, a dump of MySQL's program sets the GTID state of the server that loads it.
_NO_GTID = "--set-gtid-purged=OFF"
_OLDEST_MYSQL = (5, 7)
_FIRST_WITH_ROLES = (8, 0)
_GENERATED = """SELECT table_schema, table_name FROM information_schema.columns
WHERE generation_expression <> '' GROUP BY 1, 2 ORDER BY 1, 2"""
_USE_MYSQL_PROGRAMS = "set `programs` to a folder with MySQL's own mysql and mysqldump"
_VERSIONED = """SELECT DISTINCT table_schema FROM information_schema.tables
WHERE table_type = 'SYSTEM VERSIONED'"""
_BY_TRANSACTION = """SELECT DISTINCT table_schema FROM information_schema.columns
WHERE generation_expression = 'ROW START' AND data_type = 'bigint'"""


class MariadbSource(Source):
    """Named databases of a server, or all except its system databases."""

    kind = "mariadb"

    def __init__(
        self,
        name: str,
        server: MariadbServer,
        databases: Sequence[str] = (),
        exclude_databases: Sequence[str] = (),
        *,
        users: bool = True,
    ) -> None:
        super().__init__(name)
        self.server = server
        self.databases = tuple(databases)
        self.exclude_databases = frozenset(exclude_databases)
        self.users = users

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        consistent_at = now()
        with self.server.connect(scratch) as programs:
            try:
                mysql = _mysql_version(programs)
                databases = self._databases(programs)
                missing = self._missing_rights(programs, databases, mysql)
                dumps = [] if missing else self._dumps(programs, databases, mysql)
            except ProgramFailed as error:
                raise SourceFailed(f"source {self.name}: {error}") from error
            if missing:
                raise SourceFailed(f"source {self.name}: {missing[0]}")
            yield OpenDumps(self.name, consistent_at, dumps)

    def _databases(self, programs: MariadbPrograms) -> dict[str, tuple[str, str]]:
        """Return character set and collation of each database to dump."""
        existing = {
            name: (characters, collation)
            for name, characters, collation in programs.rows(
                "SELECT schema_name, default_character_set_name, default_collation_name"
                " FROM information_schema.schemata"
            )
        }
        if unknown := sorted(set(self.databases) - existing.keys()):
            raise ProgramFailed(
                f"database {unknown[0]}: it does not exist, or {self.server.user} may not see it"
            )
        left_out = {*_SYSTEM_DATABASES, *self.exclude_databases}
        names = self.databases or [name for name in existing if name not in left_out]
        if not names and not self.users:
            raise ProgramFailed("the server has no database to back up; name one")
        return {name: existing[name] for name in names}

    def _dumps(
        self,
        programs: MariadbPrograms,
        databases: Mapping[str, tuple[str, str]],
        mysql: tuple[int, int] | None,
    ) -> list[Dump]:
        is_mysql = programs.is_mysql("mariadb-dump")
        missing, options = {}, {}
        if is_mysql:
            options = dict.fromkeys(databases, (_NO_GTID,))
        elif mysql:
            missing = _generated_columns(programs)
        else:
            missing = self._histories(programs, databases)
            options = {name: (_HISTORY,) for name, reason in missing.items() if not reason}
        dumps = [
            Dump(
                file_name=dump_file_name(name, SUFFIX),
                command=programs.command(
                    "mariadb-dump", *_DUMP_OPTIONS, *options.get(name, ()), "--", name
                ),
                first="ALTER DATABASE CHARACTER SET {} COLLATE {};\n".format(*charset).encode(),
                ending=_ENDING,
                missing=missing.get(name, ""),
            )
            for name, charset in databases.items()
        ]
        if self.users:
            user_options = _user_options(programs) if is_mysql else ("--system=users",)
            command = programs.command("mariadb-dump", *user_options, "--skip-dump-date")
            lost_roles = "" if is_mysql or mysql is None else _lost_roles(programs, mysql)
            dumps.append(Dump(file_name=USERS, command=command, ending=_ENDING, missing=lost_roles))
        return dumps

    def _histories(self, programs: MariadbPrograms, names: Iterable[str]) -> dict[str, str]:
        """Return, by database, why the history of its tables is not dumped.

        Only databases with system-versioned tables have a history; the others are omitted. The
        reason is empty if the history can be dumped.
        """
        versioned = set(names).intersection(programs.column(_VERSIONED))
        if not versioned:
            return {}
        by_transaction = set(programs.column(_BY_TRANSACTION))
        helps = program_output(programs.command("mariadb-dump", "--help"))
        reason = ""
        if _HISTORY.encode() not in helps:
            reason = (
                "the history of its system-versioned tables is missing: this mariadb-dump "
                "cannot dump it. Install mariadb-dump of MariaDB 10.11 or newer."
            )
        reasons = dict.fromkeys(versioned, reason)
        for name in versioned & by_transaction:
            reasons[name] = (
                "the history of its system-versioned tables is missing: mariadb-dump omits it if a"
                " table keeps it by transactions. Alter that table to TIMESTAMP(6)."
            )
        return reasons

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        try:
            with self.server.connect(scratch) as programs:
                mysql = _mysql_version(programs)
                databases = self._databases(programs)
                problems = self._missing_rights(programs, databases, mysql) or [
                    f"{dump.file_name}: {dump.missing}"
                    for dump in self._dumps(programs, databases, mysql)
                    if dump.missing
                ]
                non_transactional = self._non_transactional_tables(programs, databases)
        except ProgramFailed as error:
            return [Obstacle(problem=str(error))]
        found = [Obstacle(problem=problem) for problem in problems]
        return found + [Obstacle(problem=problem, prevents=False) for problem in non_transactional]

    def _missing_rights(
        self, programs: MariadbPrograms, names: Iterable[str], mysql: tuple[int, int] | None
    ) -> list[str]:
        lines = programs.column("SHOW GRANTS")
        matches = [grant for line in lines if (grant := _GRANT.match(line)) is not None]
        grants = [grant for grant in matches if grant["verb"] == "GRANT"]
        # MySQL can revoke a global right for one database.
        revokes = [grant for grant in matches if grant["verb"] == "REVOKE"]
        in_proc = mysql is None or mysql < _FIRST_WITH_ROLES
        routine = "SHOW CREATE ROUTINE" if in_proc else "SHOW_ROUTINE"
        readable = {grant["where"] for grant in grants if _has_right("SELECT", [grant["rights"]])}
        sees_routines = "*.*" in readable or (
            in_proc
            and ("`mysql`.*" in readable or any(line.startswith(_SEES_PROC) for line in lines))
        )
        needed: dict[str, tuple[str, ...]] = dict.fromkeys(names, _NEEDED_RIGHTS)
        if self.users:
            needed[_USERS_DATABASE] = ("SELECT",)
        problems = []
        for name, rights in needed.items():
            held = [grant["rights"] for grant in grants if _grant_covers(grant["where"], name)]
            revoked = [grant["rights"] for grant in revokes if _grant_covers(grant["where"], name)]
            if missing := [
                right
                for right in rights
                if not _has_right(right, held) or _has_right(right, revoked)
            ]:
                problems.append(
                    f"{self.server.user} lacks {', '.join(missing)} on database {name}."
                    f" GRANT {', '.join(missing)} ON *.* gives what a complete dump needs."
                )
            elif name in names and not sees_routines and not _has_right(routine, held):
                problems.append(
                    f"{self.server.user} may not see the routines of database {name}, which would"
                    " be missing from its dump without an error. GRANT SELECT ON *.* allows it, and"
                    f" if the server has it, GRANT {routine} ON *.*."
                )
        return problems

    def _non_transactional_tables(
        self, programs: MariadbPrograms, names: Container[str]
    ) -> list[str]:
        tables = [
            f"{database}.{table}"
            for database, table in programs.rows(
                "SELECT table_schema, table_name FROM information_schema.tables"
                " WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"
                " AND engine <> 'InnoDB' ORDER BY 1, 2"
            )
            if database in names
        ]
        if not tables:
            return []
        problem = (
            f"{len(tables)} tables are not of InnoDB, the first is {tables[0]}: the dump is not"
            " consistent for them. Convert them, or back up while nobody writes."
        )
        return [problem]


def _mysql_version(programs: MariadbPrograms) -> tuple[int, int] | None:
    """Return the version of a MySQL server, or None for MariaDB.

    Raise `ProgramFailed` if the dump program does not support this server.
    """
    (version,) = programs.column("SELECT VERSION()")
    is_mysql = programs.is_mysql("mariadb-dump")
    if "mariadb" in version.lower():
        if is_mysql:
            raise ProgramFailed(
                f"the server is MariaDB {version}, but the mysqldump found here is of MySQL."
                " Install the package mariadb-client, or set `programs` to the folder of MariaDB's"
                " programs."
            )
        return None
    match = re.match(r"(\d+)\.(\d+)", version)
    numbers = (int(match[1]), int(match[2])) if match else _OLDEST_MYSQL
    if numbers < _OLDEST_MYSQL and not is_mysql:
        raise ProgramFailed(
            f"the server is MySQL {version}, but mariadb-dump supports 5.7 or newer. Upgrade it, or"
            " let its own mysqldump write a file, and back that up as a source of files."
        )
    return numbers


def _generated_columns(programs: MariadbPrograms) -> dict[str, str]:
    """Return the problem of each database with generated columns."""
    tables: dict[str, list[str]] = {}
    for database, table in programs.rows(_GENERATED):
        tables.setdefault(database, []).append(table)
    return {
        database: f"mariadb-dump writes values into the generated columns of {affected[0]}"
        + (f" and {len(affected) - 1} more tables" if len(affected) > 1 else "")
        + f", and MySQL does not accept these: {_USE_MYSQL_PROGRAMS}"
        for database, affected in tables.items()
    }


def _lost_roles(programs: MariadbPrograms, mysql: tuple[int, int]) -> str:
    """Return the problem of a MySQL server with roles, or an empty text."""
    if mysql < _FIRST_WITH_ROLES or not programs.rows("SELECT 1 FROM mysql.role_edges LIMIT 1"):
        return ""
    return (
        "MySQL accepts no role that mariadb-dump wrote, and no user with a default role:"
        f" {_USE_MYSQL_PROGRAMS}"
    )


def _user_options(programs: MariadbPrograms) -> tuple[str, ...]:
    if b"--users" not in program_output(programs.command("mariadb-dump", "--help")):
        raise ProgramFailed(
            "this mysqldump cannot dump the users (version 9.7 can): set `users = false`"
        )
    return ("--users", "--single-transaction", _NO_GTID)


def _grant_covers(scope: str, database: str) -> bool:
    if scope == "*.*":
        return True
    # The name of a database in a grant is a pattern. % and _ are wildcards, unless a backslash
    # precedes them.
    pattern = scope[1:-3].replace("``", "`")
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(piece) or re.escape(piece[-1]) for piece in pieces)
    return re.fullmatch(expression, database, re.DOTALL) is not None


def _has_right(right: str, granted: Sequence[str]) -> bool:
    return any(rights == "ALL PRIVILEGES" or right in re.split(", ?", rights) for rights in granted)
