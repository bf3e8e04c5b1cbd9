"""The databases of a MariaDB or MySQL server, each as `mariadb-dump` gives it: `NAME.sql`.

- A dump is streamed from `mariadb-dump --single-transaction`, with routines, triggers and events,
  and never lies on a disk of ours. `mysqldump` of MySQL is taken as well, for MySQL's servers.
- Each dump stands for itself: its first statement sets the character set of whatever database it
  is read into, and it names no database.
- Users, roles and their grants come as `users.grants`, SQL as well, with their passwords' hashes.
- One transaction holds only tables of InnoDB still; others are dumped as they are at that moment,
  and `obstacles` names them.
- System-versioned tables come with their history.  Where `mariadb-dump` cannot give it, they come
  as they are now, and the point says what it lacks.
- A dump cut off between two statements would be read in without an error, so each has to end as
  `mariadb-dump` ends one.
- `mariadb-dump` reads MySQL's own servers from 5.7 on: an older one lacks what it asks. It writes
  values into generated columns and roles as only MariaDB takes them back, and then the point says
  that it lacks them.
- A right that lacks would leave out triggers or routines without a word, so the grants are read
  first, and a database that cannot be dumped whole fails the source.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from backup.errors import SourceFailed
from backup.sources import Obstacle, OpenSource, Source
from backup.sources.client_programs import ProgramFailed, answer_of
from backup.sources.database_dumps import Dump, OpenDumps, file_name_of
from backup.sources.mariadb.server import MariadbPrograms, MariadbServer
from backup.sources.output_completeness import TextEndMarker

SUFFIX = ".sql"
USERS = "users.grants"  # no database's file can have this name
_USERS_DATABASE = "mysql"
_OWN = ("information_schema", "performance_schema", "mysql", "sys")
_NEEDED = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
_GRANT = re.compile(
    r"(?P<verb>GRANT|REVOKE) (?P<rights>.+?) ON (?P<where>\*\.\*|`(?:[^`]|``)*`\.\*) (?:TO|FROM) "
)
_SEES_PROC = "GRANT SELECT ON `mysql`.`proc` TO "  # where routines stand but in MySQL from 8.0 on
_ENDING = partial(TextEndMarker, b"\n-- Dump completed")  # of MySQL's mysqldump, too
_HOW = (
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
_OF_NO_REPLICA = "--set-gtid-purged=OFF"  # MySQL's own would tell the next server what it has seen
_OLDEST_MYSQL = (5, 7)
_FIRST_WITH_ROLES = (8, 0)
_GENERATED = """SELECT table_schema, table_name FROM information_schema.columns
WHERE generation_expression <> '' GROUP BY 1, 2 ORDER BY 1, 2"""
_OWN_PROGRAMS = "set `programs` to a folder with MySQL's own mysql and mysqldump"
_VERSIONED = """SELECT DISTINCT table_schema FROM information_schema.tables
WHERE table_type = 'SYSTEM VERSIONED'"""
_BY_TRANSACTION = """SELECT DISTINCT table_schema FROM information_schema.columns
WHERE generation_expression = 'ROW START' AND data_type = 'bigint'"""


class MariadbSource(Source):
    """The named databases of a server, or without names all but its own."""

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
        with self.server.reached(scratch) as programs:
            try:
                mysql = _mysql_version(programs)
                databases = self._databases(programs)
                lacking = self._lacking(programs, databases, mysql)
                dumps = [] if lacking else self._dumps(programs, databases, mysql)
            except ProgramFailed as error:
                raise SourceFailed(f"source {self.name}: {error}") from error
            if lacking:
                raise SourceFailed(f"source {self.name}: {lacking[0]}")
            yield OpenDumps(self.name, consistent_at, dumps)

    def _databases(self, programs: MariadbPrograms) -> dict[str, tuple[str, str]]:
        """What is to be dumped, each with its character set and its collation."""
        there = {
            name: (characters, collation)
            for name, characters, collation in programs.rows(
                "SELECT schema_name, default_character_set_name, default_collation_name"
                " FROM information_schema.schemata"
            )
        }
        if unknown := sorted(set(self.databases) - there.keys()):
            raise ProgramFailed(f"there is no database {unknown[0]}, or it may not be seen")
        left_out = {*_OWN, *self.exclude_databases}
        names = self.databases or [name for name in there if name not in left_out]
        if not names and not self.users:
            raise ProgramFailed("the server has no database that is to be backed up; name one")
        return {name: there[name] for name in names}

    def _dumps(
        self,
        programs: MariadbPrograms,
        databases: Mapping[str, tuple[str, str]],
        mysql: tuple[int, int] | None,
    ) -> list[Dump]:
        is_of_mysql = programs.is_of_mysql("mariadb-dump")
        lacks, more = {}, {}
        if is_of_mysql:
            more = dict.fromkeys(databases, (_OF_NO_REPLICA,))
        elif mysql:
            lacks = _generated(programs)
        else:
            lacks = self._histories(programs, databases)
            more = {name: (_HISTORY,) for name, why in lacks.items() if not why}
        dumps = [
            Dump(
                file_name=file_name_of(name, SUFFIX),
                command=programs.command("mariadb-dump", *_HOW, *more.get(name, ()), "--", name),
                first="ALTER DATABASE CHARACTER SET {} COLLATE {};\n".format(*sets).encode(),
                ending=_ENDING,
                lacks=lacks.get(name, ""),
            )
            for name, sets in databases.items()
        ]
        if self.users:
            how = _how_users_come(programs) if is_of_mysql else ("--system=users",)
            command = programs.command("mariadb-dump", *how, "--skip-dump-date")
            lost = "" if is_of_mysql or mysql is None else _roles(programs, mysql)
            dumps.append(Dump(file_name=USERS, command=command, ending=_ENDING, lacks=lost))
        return dumps

    def _histories(self, programs: MariadbPrograms, names: Iterable[str]) -> dict[str, str]:
        """The databases that have histories, each with why that cannot be dumped, or ""."""
        versioned = set(names).intersection(programs.column(_VERSIONED))
        if not versioned:
            return {}
        by_transaction = set(programs.column(_BY_TRANSACTION))
        helps = answer_of(programs.command("mariadb-dump", "--help"))
        why = ""
        if _HISTORY.encode() not in helps:
            why = (
                "the history of its system-versioned tables is not in it: this mariadb-dump cannot"
                " give that; install one of MariaDB 10.11 or newer"
            )
        found = dict.fromkeys(versioned, why)
        for name in versioned & by_transaction:
            found[name] = (
                "the history of its system-versioned tables is not in it: mariadb-dump gives none"
                " where a table keeps it by transactions; alter that table to TIMESTAMP(6)"
            )
        return found

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        try:
            with self.server.reached(scratch) as programs:
                mysql = _mysql_version(programs)
                databases = self._databases(programs)
                problems = self._lacking(programs, databases, mysql) or [
                    f"{dump.file_name}: {dump.lacks}"
                    for dump in self._dumps(programs, databases, mysql)
                    if dump.lacks
                ]
                moving = self._moving(programs, databases)
        except ProgramFailed as error:
            return [Obstacle(problem=str(error))]
        found = [Obstacle(problem=problem) for problem in problems]
        return found + [Obstacle(problem=problem, prevents=False) for problem in moving]

    def _lacking(
        self, programs: MariadbPrograms, names: Iterable[str], mysql: tuple[int, int] | None
    ) -> list[str]:
        lines = programs.column("SHOW GRANTS")
        found = [one for line in lines if (one := _GRANT.match(line)) is not None]
        grants = [one for one in found if one["verb"] == "GRANT"]
        # Of a right on everything MySQL can take back one on a database.
        revokes = [one for one in found if one["verb"] == "REVOKE"]
        in_proc = mysql is None or mysql < _FIRST_WITH_ROLES
        routine = "SHOW CREATE ROUTINE" if in_proc else "SHOW_ROUTINE"
        reads = {one["where"] for one in grants if _is_held("SELECT", [one["rights"]])}
        sees_routines = "*.*" in reads or (
            in_proc and ("`mysql`.*" in reads or any(line.startswith(_SEES_PROC) for line in lines))
        )
        needed: dict[str, tuple[str, ...]] = dict.fromkeys(names, _NEEDED)
        if self.users:
            needed[_USERS_DATABASE] = ("SELECT",)
        problems = []
        for name, rights in needed.items():
            held = [one["rights"] for one in grants if _covers(one["where"], name)]
            revoked = [one["rights"] for one in revokes if _covers(one["where"], name)]
            if missing := [
                right for right in rights if not _is_held(right, held) or _is_held(right, revoked)
            ]:
                problems.append(
                    f"{self.server.user} lacks {', '.join(missing)} on database {name}:"
                    f" GRANT {', '.join(missing)} ON *.* gives what a whole dump needs"
                )
            elif name in names and not sees_routines and not _is_held(routine, held):
                problems.append(
                    f"{self.server.user} may not see the routines of database {name}, and without"
                    f" an error they would not be in its dump: GRANT SELECT ON *.* lets it, and"
                    f" where the server has it, GRANT {routine} ON *.*"
                )
        return problems

    def _moving(self, programs: MariadbPrograms, names: Container[str]) -> list[str]:
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
            f"{len(tables)} tables are not of InnoDB, the first is {tables[0]}: the dump does not"
            " hold them still; convert them, or back up while nobody writes"
        )
        return [problem]


def _mysql_version(programs: MariadbPrograms) -> tuple[int, int] | None:
    """None of a MariaDB; ProgramFailed where the dump program here is none for this server."""
    (version,) = programs.column("SELECT VERSION()")
    is_of_mysql = programs.is_of_mysql("mariadb-dump")
    if "mariadb" in version.lower():
        if is_of_mysql:
            raise ProgramFailed(
                f"the server is MariaDB {version}, and the mysqldump here is MySQL's own: install"
                " the package mariadb-client, or name the folder of MariaDB's own as `programs`"
            )
        return None
    found = re.match(r"(\d+)\.(\d+)", version)
    numbers = (int(found[1]), int(found[2])) if found else _OLDEST_MYSQL
    if numbers < _OLDEST_MYSQL and not is_of_mysql:
        raise ProgramFailed(
            f"the server is MySQL {version}, and mariadb-dump reads none before 5.7: upgrade it, or"
            " have its own mysqldump write a file, and name that as a source of files"
        )
    return numbers


def _generated(programs: MariadbPrograms) -> dict[str, str]:
    """The databases whose generated columns MySQL would not take back, each with what to do."""
    tables: dict[str, list[str]] = {}
    for database, table in programs.rows(_GENERATED):
        tables.setdefault(database, []).append(table)
    return {
        database: f"mariadb-dump writes values into the generated columns of {found[0]}"
        + (f" and {len(found) - 1} more tables" if len(found) > 1 else "")
        + f", and no MySQL takes those back: {_OWN_PROGRAMS}"
        for database, found in tables.items()
    }


def _roles(programs: MariadbPrograms, mysql: tuple[int, int]) -> str:
    """What of the users is lost by mariadb-dump, or ""."""
    if mysql < _FIRST_WITH_ROLES or not programs.rows("SELECT 1 FROM mysql.role_edges LIMIT 1"):
        return ""
    return (
        "MySQL takes back no role that mariadb-dump wrote, and no user who has one by default:"
        f" {_OWN_PROGRAMS}"
    )


def _how_users_come(programs: MariadbPrograms) -> tuple[str, ...]:
    if b"--users" not in answer_of(programs.command("mariadb-dump", "--help")):
        raise ProgramFailed(
            "this mysqldump cannot give the users, as that of MySQL 9.7 can: set `users = false`"
        )
    return ("--users", "--single-transaction", _OF_NO_REPLICA)


def _covers(where: str, database: str) -> bool:
    if where == "*.*":
        return True
    # A name in a grant is a pattern: % and _ stand for anything, unless a backslash is before.
    pattern = where[1:-3].replace("``", "`")
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    expression = "".join(wild.get(piece) or re.escape(piece[-1]) for piece in pieces)
    return re.fullmatch(expression, database, re.DOTALL) is not None


def _is_held(right: str, held: Sequence[str]) -> bool:
    return any(rights == "ALL PRIVILEGES" or right in re.split(", ?", rights) for rights in held)
