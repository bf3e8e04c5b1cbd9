"""PostgreSQL source: each database of a server as a dump, `NAME.dump`.

- A dump is streamed from `pg_dump -Fc --compress=0` and never stored on a local disk. `pg_dump`
  does not compress it, because the backup deduplicates and compresses uncompressed content better.
- Roles and tablespaces are in `globals.sql`, from `pg_dumpall --globals-only`. The file contains
  the passwords of roles only with `role_passwords`, which needs a superuser.
- The role needs CONNECT and `pg_read_all_data`, and BYPASSRLS if tables have row security. If a
  right is missing, the dump that needs it fails.
- A dump waits ten minutes for a lock, then fails, so that a forgotten session does not block a
  nightly run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from backup.errors import SourceFailed
from backup.sources import Obstacle, OpenSource, Source
from backup.sources.client_programs import ProgramFailed
from backup.sources.database_dumps import Dump, OpenDumps, dump_file_name
from backup.sources.output_completeness import TextEndMarker
from backup.sources.postgresql.server import PostgresqlServer

SUFFIX = ".dump"
GLOBALS = "globals.sql"
_GLOBALS_ENDING = partial(TextEndMarker, b"\n-- PostgreSQL database cluster dump complete\n")
_LOCK_WAIT = "600s"

_UNREADABLE = """
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
    """Named databases of a server, or all databases that accept connections.

    `template1` is included only if it is named, because a restore creates databases from
    `template0`.
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
        # Build one command and vary it, because each call of `command` queries the versions.
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
                file_name=dump_file_name(name, SUFFIX),
                command=pattern.with_environment(PGDATABASE=name),
            )
            for name in names
        ]
        dump_globals = server.command("pg_dumpall", *globals_options, database=names[0])
        return [*dumps, Dump(file_name=GLOBALS, command=dump_globals, ending=_GLOBALS_ENDING)]

    def _names(self) -> list[str]:
        names = list(self.databases)
        if not names:
            existing = self.server.column(
                "SELECT datname FROM pg_database WHERE datallowconn"
                # All other templates were created by users, and are included.
                " AND datname NOT IN ('template0', 'template1')"
            )
            names = [name for name in existing if name not in self.exclude_databases]
        if not names:
            raise ProgramFailed("the server has no database to back up; name one")
        return names

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        try:
            self._dumps()
            problems = [
                problem for name in self._names() for problem in self._unreadable_objects(name)
            ]
        except ProgramFailed as error:
            problems = [str(error)]
        return [Obstacle(problem=problem) for problem in problems]

    def _unreadable_objects(self, database: str) -> Iterator[str]:
        server = self.server
        try:
            tables = server.column(_UNREADABLE, database=database)
            large_objects = int(server.value(_LARGE_OBJECTS, database=database))
        except ProgramFailed as error:
            yield f"database {database}: {error}"
            return
        if tables:
            yield (
                f"database {database}: {self.server.user} may not fully read {len(tables)}"
                f" relations, the first is {tables[0]}. Grant pg_read_all_data, and BYPASSRLS for"
                " row security."
            )
        if large_objects:
            yield (
                f"database {database}: {self.server.user} may not read {large_objects} large"
                " objects. Grant SELECT on each, or dump them as their owner."
            )
