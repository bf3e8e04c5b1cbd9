"""The databases of a PostgreSQL server, each as `pg_dump` gives it: `NAME.dump` in custom format.

- A dump is streamed from `pg_dump -Fc --compress=0` and never lies on a disk of ours; uncompressed,
  since the repository deduplicates and compresses better.
- Roles and tablespaces come as `globals.sql`, from `pg_dumpall --globals-only`; the roles'
  passwords only where `role_passwords` says so, since that takes a superuser.
- The reading role needs CONNECT, `pg_read_all_data`, and BYPASSRLS where rows are secured; a right
  that lacks fails the dump that needs it.
- A dump waits for a lock for ten minutes, then fails: a nightly run must not hang on a forgotten
  session.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from backup.errors import SourceFailed
from backup.sources import Obstacle, OpenSource, Source
from backup.sources.client_programs import ProgramFailed
from backup.sources.database_dumps import Dump, OpenDumps, file_name_of
from backup.sources.output_completeness import TextEndMarker
from backup.sources.postgresql.server import PostgresqlServer

SUFFIX = ".dump"
GLOBALS = "globals.sql"
_GLOBALS_ENDING = partial(TextEndMarker, b"\n-- PostgreSQL database cluster dump complete\n")
_LOCK_WAIT = "600s"

_LACKING = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles me ON me.rolname = current_user
WHERE c.relkind IN ('r', 'p', 'm', 'S')
AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT (
  has_schema_privilege(n.oid, 'USAGE')
  AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
           ELSE has_table_privilege(c.oid, 'SELECT') END
  AND (NOT c.relrowsecurity OR me.rolsuper OR me.rolbypassrls
       OR (pg_has_role(c.relowner, 'USAGE') AND NOT c.relforcerowsecurity))
) ORDER BY 1"""
_LARGE_OBJECTS = """
SELECT count(*) FROM pg_largeobject_metadata l JOIN pg_roles me ON me.rolname = current_user
WHERE NOT (me.rolsuper OR pg_has_role(l.lomowner, 'USAGE')
           OR EXISTS (SELECT FROM aclexplode(l.lomacl) a WHERE a.privilege_type = 'SELECT'
                      AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))))"""


class PostgresqlSource(Source):
    """The named databases of a server, or without names all that accept connections.

    `template1` only by its name: what a restore goes into is made from `template0`.
    """

    kind = "postgresql"

    def __init__(
        self,
        name: str,
        server: PostgresqlServer,
        databases: Sequence[str] = (),
        exclude_databases: Sequence[str] = (),
        *,
        role_passwords: bool = False,
    ) -> None:
        super().__init__(name)
        self.server = server
        self.databases = tuple(databases)
        self.exclude_databases = frozenset(exclude_databases)
        self.role_passwords = role_passwords

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        consistent_at = now()
        try:
            dumps = self._dumps()
        except ProgramFailed as error:
            raise SourceFailed(f"source {self.name}: {error}") from error
        yield OpenDumps(self.name, consistent_at, dumps)

    def _dumps(self) -> list[Dump]:
        server = self.server
        globals_options = ["--globals-only", "--no-password"]
        if not self.role_passwords:
            globals_options.append("--no-role-passwords")
        # One command serves as the pattern: each look for a program asks for the versions anew.
        pattern = server.command(
            "pg_dump",
            "--format=custom",
            "--compress=0",
            "--no-password",
            f"--lock-wait-timeout={_LOCK_WAIT}",
        )
        names = self._names()
        dumps = [
            Dump(
                file_name=file_name_of(name, SUFFIX),
                command=pattern.with_environment(PGDATABASE=name),
            )
            for name in names
        ]
        everything = server.command("pg_dumpall", *globals_options, database=names[0])
        return [*dumps, Dump(file_name=GLOBALS, command=everything, ending=_GLOBALS_ENDING)]

    def _names(self) -> list[str]:
        names = list(self.databases)
        if not names:
            there = self.server.column(
                "SELECT datname FROM pg_database WHERE datallowconn"
                " AND datname NOT IN ('template0', 'template1')"  # other templates are somebody's
            )
            names = [name for name in there if name not in self.exclude_databases]
        if not names:
            raise ProgramFailed("the server has no database that is to be backed up; name one")
        return names

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        try:
            self._dumps()
            problems = [problem for name in self._names() for problem in self._lacking(name)]
        except ProgramFailed as error:
            problems = [str(error)]
        return [Obstacle(problem=problem) for problem in problems]

    def _lacking(self, database: str) -> Iterator[str]:
        server = self.server
        try:
            tables = server.column(_LACKING, database=database)
            large_objects = int(server.value(_LARGE_OBJECTS, database=database))
        except ProgramFailed as error:
            yield f"database {database}: {error}"
            return
        if tables:
            yield (
                f"database {database}: {self.server.user} may not read {len(tables)} relations"
                f" whole, the first is {tables[0]}: grant pg_read_all_data, and BYPASSRLS where"
                " rows are secured"
            )
        if large_objects:
            yield (
                f"database {database}: {self.server.user} may not read {large_objects} large"
                " objects: grant SELECT on each, or dump them as their owner"
            )
