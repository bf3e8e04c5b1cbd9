"""Rename of a MariaDB database, for which the server has no statement.

- All tables move in one statement, and keep their ids. Afterwards the first name has an empty
  database, with its grants.
- Views, triggers, routines and events cannot move. The renamed database keeps them as SQL in its
  table `standfast_renamed`, and they are created again when the database gets its first name back.
  So no event and no trigger changes data that was set aside.
- A rename that fails is reversed. `finish` completes a rename whose process died.
"""

import hashlib

from backup.sources.client_programs import ProgramFailed, program_output
from backup.sources.mariadb.server import MariadbPrograms, identifier, literal
from backup.targets import Stream, feed

_MARK = "standfast_renamed"
_LEAVING, _AWAY, _RETURNING = "leaving", "away", "returning"
_MARK_COLUMNS = (
    "(origin VARCHAR(64) CHARACTER SET utf8mb4, state VARCHAR(9), definitions LONGBLOB)"
    " ENGINE=InnoDB"
)
_LOCK_SECONDS = 60  # for transactions that still use a table
_ALL_RIGHTS = "GRANT ALL PRIVILEGES ON *.* TO "
# In binary mode, the client runs no command of its own from the definitions.
_BATCH = ("--batch", "--binary-mode", "--max-allowed-packet=1G")
_TABLES = """SELECT table_name FROM information_schema.tables
WHERE table_schema = {schema} AND table_type <> 'VIEW' AND table_name <> '{mark}' ORDER BY 1"""
_IDS = """SELECT table_id FROM information_schema.innodb_sys_tables
WHERE SUBSTRING_INDEX(name, '/', 1) =
CAST(CONVERT(CONVERT({schema} USING utf8mb4) USING filename) AS BINARY)
AND name NOT LIKE '%/{mark}' ORDER BY 1"""
_VIEWS = "SELECT table_name FROM information_schema.views WHERE table_schema = {schema} ORDER BY 1"
_DROPPED_FIRST = """SELECT 'EVENT', event_name FROM information_schema.events
WHERE event_schema = {schema} UNION ALL
SELECT 'TRIGGER', trigger_name FROM information_schema.triggers WHERE trigger_schema = {schema}"""
_DROPPED_LAST = """SELECT 'VIEW', table_name FROM information_schema.views
WHERE table_schema = {schema} UNION ALL
SELECT routine_type, routine_name FROM information_schema.routines
WHERE routine_schema = {schema} AND routine_type <> 'PACKAGE BODY'"""
_SIZE = """SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables
WHERE table_schema = {schema}"""
_SESSIONS = """SELECT id FROM information_schema.processlist
WHERE db = {schema} AND id <> CONNECTION_ID()"""
_REFERRING = """SELECT CONCAT(constraint_schema, '.', table_name)
FROM information_schema.referential_constraints
WHERE unique_constraint_schema = {schema} AND constraint_schema <> {schema} LIMIT 1"""


class DatabaseRename:
    """Renames of the databases of one server."""

    def __init__(self, programs: MariadbPrograms) -> None:
        self._programs = programs

    def database_id(self, database: str) -> str:
        """Return a digest of the ids of the tables; "" without content."""
        if not self.has_content(database):
            return ""
        parts = [*self._column(_TABLES, database), *self._column(_IDS, database)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def has_content(self, database: str) -> bool:
        """Return whether the database has a table or anything else."""
        queries = (_TABLES, _DROPPED_FIRST, _DROPPED_LAST)
        return self._is_renamed(database) or any(self._rows(sql, database) for sql in queries)

    def size_bytes(self, database: str) -> int:
        """Return the size of a database; 0 if it has no content."""
        if not self.has_content(database):
            return 0
        return max(1, int(self._column(_SIZE, database)[0]))

    def obstacle(self, database: str) -> str:
        """Return why a database, also a later one, cannot be renamed, or ""."""
        (version,) = self._programs.column("SELECT VERSION()")
        if "mariadb" not in version.lower() or self._programs.is_mysql("mariadb-dump"):
            return "the server or its client programs are of MySQL. Rename it by hand."
        if not any(line.startswith(_ALL_RIGHTS) for line in self._programs.column("SHOW GRANTS")):
            return "its user does not see all parts of it. GRANT ALL PRIVILEGES ON *.* to it."
        if referring := self._column(_REFERRING, database):
            return f"a foreign key of {referring[0]} refers to it. Drop that key."
        if self.has_content(database):
            self._definitions(database)
        return ""

    def rename(self, old: str, new: str) -> None:
        """Rename a database; one that was renamed before gets its parts back."""
        if self._is_renamed(old):
            self._bring_back(old, new)
            return
        characters, collation = self._programs.rows(
            "SELECT default_character_set_name, default_collation_name FROM"  # noqa: S608 - quoted
            f" information_schema.schemata WHERE schema_name = {literal(old)}"
        )[0]
        definitions = self._definitions(old)
        self._programs.column(
            f"CREATE DATABASE IF NOT EXISTS {identifier(new)}"
            f" CHARACTER SET {characters} COLLATE {collation}"
        )
        self._send(
            f"CREATE TABLE {_mark(new)} {_MARK_COLUMNS} AS SELECT {literal(old)} AS origin,"
            f" '{_LEAVING}' AS state, X'{definitions.hex()}' AS definitions;\n"
        )
        try:
            self._put_away(old, new)
        except ProgramFailed:
            self._bring_back(new, old)
            raise

    def finish(self, database: str) -> None:
        """Complete the interrupted renames from or to this name."""
        tables = f"information_schema.tables WHERE table_name = '{_MARK}'"
        for name in self._programs.column(f"SELECT table_schema FROM {tables}"):  # noqa: S608 - constant
            origin, state = self._programs.rows(f"SELECT origin, state FROM {_mark(name)}")[0]  # noqa: S608 - quoted
            if origin == database and state == _LEAVING:
                self._put_away(database, name)
            elif origin == database and state == _RETURNING:
                self._bring_back(name, database)

    def _put_away(self, old: str, new: str) -> None:
        self._end_sessions(old)
        self._drop(_DROPPED_FIRST, old)
        self._move_tables(old, new)
        self._drop(_DROPPED_LAST, old)
        self._set_state(new, _AWAY)

    def _bring_back(self, old: str, new: str) -> None:
        self._set_state(old, _RETURNING)
        self._programs.column(f"CREATE DATABASE IF NOT EXISTS {identifier(new)}")
        self._move_tables(old, new)
        stored = self._programs.column(f"SELECT HEX(definitions) FROM {_mark(old)}")  # noqa: S608 - quoted
        self._send(bytes.fromhex(stored[0]), f"--database={new}")
        self._programs.column(f"DROP DATABASE {identifier(old)}")  # only the definitions are left

    def _move_tables(self, old: str, new: str) -> None:
        pairs = [
            f"{identifier(old)}.{identifier(table)} TO {identifier(new)}.{identifier(table)}"
            for table in self._column(_TABLES, old)
        ]
        if pairs:
            self._send(
                f"SET lock_wait_timeout = {_LOCK_SECONDS};\nRENAME TABLE {','.join(pairs)};\n"
            )

    def _definitions(self, database: str) -> bytes:
        """Return views, triggers, routines and events as SQL that may be repeated."""
        common = ("--no-data", "--skip-dump-date", "--skip-lock-tables")
        code = ("--no-create-info", "--routines", "--events", "--triggers", "--add-drop-trigger")
        dump = self._programs.command("mariadb-dump", *common, *code, "--", database)
        definitions = program_output(dump)
        if views := self._column(_VIEWS, database):
            of_views = (*common, "--skip-triggers", "--", database, *views)
            definitions += program_output(self._programs.command("mariadb-dump", *of_views))
        return definitions

    def _end_sessions(self, database: str) -> None:
        for session in self._column(_SESSIONS, database):
            # It may have ended by itself.
            self._send(f"KILL {session};\n", "--force")

    def _drop(self, query: str, database: str) -> None:
        for kind, name in self._rows(query, database):
            self._programs.column(
                f"DROP {kind} IF EXISTS {identifier(database)}.{identifier(name)}"
            )

    def _set_state(self, database: str, state: str) -> None:
        self._programs.column(f"UPDATE {_mark(database)} SET state = '{state}'")  # noqa: S608 - quoted

    def _is_renamed(self, database: str) -> bool:
        sql = f"SHOW TABLES FROM {identifier(database)} LIKE '{_MARK}'"
        return database in self._programs.column("SHOW DATABASES") and bool(
            self._programs.column(sql)
        )

    def _send(self, statements: str | bytes, *options: str) -> None:
        content = statements.encode() if isinstance(statements, str) else statements
        stream: Stream = lambda: iter([content])  # noqa: E731 - a constant stream
        status, _, lines = feed(self._programs.command("mariadb", *_BATCH, *options), stream)
        if status and "--force" not in options:
            raise ProgramFailed((lines or [f"mariadb ended with {status}"])[-1])

    def _column(self, sql: str, database: str) -> list[str]:
        return [row[0] for row in self._rows(sql, database)]

    def _rows(self, sql: str, database: str) -> list[list[str]]:
        return self._programs.rows(sql.format(schema=literal(database), mark=_MARK))


def _mark(database: str) -> str:
    return f"{identifier(database)}.{_MARK}"
