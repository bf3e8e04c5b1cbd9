"""The databases of a MariaDB or MySQL server, each as `mariadb-dump` gives it: `NAME.sql`.

- A dump is streamed from `mariadb-dump --single-transaction`, with routines, triggers and events,
  and never lies on a disk of ours.
- Each dump stands for itself: its first statement sets the character set of whatever database it
  is read into, and it names no database.
- Users, roles and their grants come as `users.grants`, SQL as well, with their passwords' hashes.
- One transaction holds only tables of InnoDB still; others are dumped as they are at that moment,
  and `obstacles` names them.
- System-versioned tables come with their history.  Where `mariadb-dump` cannot give it, they come
  as they are now, and the point says what it lacks.
- A dump cut off between two statements would be read in without an error, so each has to end as
  `mariadb-dump` ends one.
- MySQL's own servers are read from 5.7 on: an older one lacks what `mariadb-dump` asks it.
- A right that lacks would leave out triggers without a word, so the grants are read first, and a
  database that cannot be dumped whole fails the source.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from backup.errors import SourceFailed
from backup.sources import Obstacle, OpenSource, Source
from backup.sources.dumps import Dump, OpenDumps, file_name_of
from backup.sources.mariadb_server import MariadbPrograms, MariadbServer
from backup.sources.programs import ProgramFailed, answer_of

SUFFIX = ".sql"
USERS = "users.grants"  # no database's file can have this name
_USERS_DATABASE = "mysql"
_OWN = ("information_schema", "performance_schema", "mysql", "sys")
_NEEDED = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?P<where>\*\.\*|`(?:[^`]|``)*`\.\*) TO ")
_ENDING = b"\n-- Dump completed"  # of MySQL's mysqldump, too
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
_OLDEST_MYSQL = (5, 7)
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
                _check_version(programs)
                names = self._names(programs)
                lacking = self._lacking(programs, names)
                dumps = self._dumps(programs, names)
            except ProgramFailed as error:
                raise SourceFailed(f"source {self.name}: {error}") from error
            if lacking:
                raise SourceFailed(f"source {self.name}: {lacking[0]}")
            yield OpenDumps(self.name, consistent_at, dumps)

    def _names(self, programs: MariadbPrograms) -> list[str]:
        if self.databases:
            return list(self.databases)
        there = programs.column("SELECT schema_name FROM information_schema.schemata")
        names = [name for name in there if name not in (*_OWN, *self.exclude_databases)]
        if not names and not self.users:
            raise ProgramFailed("the server has no database that is to be backed up; name one")
        return names

    def _dumps(self, programs: MariadbPrograms, names: Sequence[str]) -> list[Dump]:
        sets = {
            name: (characters, collation)
            for name, characters, collation in programs.rows(
                "SELECT schema_name, default_character_set_name, default_collation_name"
                " FROM information_schema.schemata"
            )
        }
        if unknown := sorted(set(names) - sets.keys()):
            raise ProgramFailed(f"there is no database {unknown[0]}, or it may not be seen")
        histories = self._histories(programs, names)
        dumps = []
        for name in names:
            lacks = histories.get(name, "")
            how = (*_HOW, _HISTORY) if name in histories and not lacks else _HOW
            dump = Dump(
                file_name=file_name_of(name, SUFFIX),
                command=programs.command("mariadb-dump", *how, "--", name),
                first="ALTER DATABASE CHARACTER SET {} COLLATE {};\n".format(*sets[name]).encode(),
                ending=_ENDING,
                lacks=lacks,
            )
            dumps.append(dump)
        if self.users:
            command = programs.command("mariadb-dump", "--system=users", "--skip-dump-date")
            dumps.append(Dump(file_name=USERS, command=command, ending=_ENDING))
        return dumps

    def _histories(self, programs: MariadbPrograms, names: Sequence[str]) -> dict[str, str]:
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
                _check_version(programs)
                names = self._names(programs)
                histories = [
                    f"{dump.file_name}: {dump.lacks}"
                    for dump in self._dumps(programs, names)
                    if dump.lacks
                ]
                lacking = self._lacking(programs, names)
                moving = self._moving(programs, names)
        except ProgramFailed as error:
            return [Obstacle(problem=str(error))]
        found = [Obstacle(problem=problem) for problem in lacking + histories]
        return found + [Obstacle(problem=problem, prevents=False) for problem in moving]

    def _lacking(self, programs: MariadbPrograms, names: Sequence[str]) -> list[str]:
        grants = [
            found
            for line in programs.column("SHOW GRANTS")
            if (found := _GRANT.match(line)) is not None
        ]
        needed: dict[str, tuple[str, ...]] = dict.fromkeys(names, _NEEDED)
        if self.users:
            needed[_USERS_DATABASE] = ("SELECT",)
        problems = []
        for name, rights in needed.items():
            held = [
                found.group("rights") for found in grants if _covers(found.group("where"), name)
            ]
            if missing := [right for right in rights if not _is_held(right, held)]:
                problems.append(
                    f"{self.server.user} lacks {', '.join(missing)} on database {name}:"
                    f" GRANT {', '.join(missing)} ON *.* gives what a whole dump needs"
                )
        return problems

    def _moving(self, programs: MariadbPrograms, names: Sequence[str]) -> list[str]:
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


def _check_version(programs: MariadbPrograms) -> None:
    (version,) = programs.column("SELECT VERSION()")
    found = re.match(r"(\d+)\.(\d+)", version)
    is_mysql = "mariadb" not in version.lower()
    if is_mysql and found and (int(found[1]), int(found[2])) < _OLDEST_MYSQL:
        raise ProgramFailed(
            f"the server is MySQL {version}, and mariadb-dump reads none before 5.7: upgrade it, or"
            " have its own mysqldump write a file, and name that as a source of files"
        )


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
    return any(rights == "ALL PRIVILEGES" or right in rights.split(", ") for rights in held)
