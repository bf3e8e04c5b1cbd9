"""Move of a MariaDB database's content to another name; obstacles.

MariaDB cannot rename a database. So all tables are moved in one statement, and stored code (views,
triggers, routines and events) is created again. The caller stores a description of the content
before the move. If the move is interrupted, it is repeated with this description.

- A recovery sets the existing database aside: it moves the content to another name. Under this
  name, the database has no stored code, so that no event and no trigger changes it.
- Grants refer to the name of a database. So they remain with the old name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backup.sources.client_programs import ProgramFailed
from backup.sources.mariadb.server import MariadbPrograms, identifier, literal
from backup.targets.mariadb_code import (
    CATALOG,
    StoredCode,
    create_code,
    drop_code,
    execute,
    list_code,
    read_code,
)
from backup.targets.mariadb_dump import Account, parse_version

_OLDEST = (10, 6)  # the first version in which EXECUTE IMMEDIATE accepts each needed statement
_MOST_TRIES = 5  # of a move while another program creates tables
_ALL_RIGHTS = "GRANT ALL PRIVILEGES ON *.* TO "
_SUMMARY = """SELECT 'DATABASE', default_character_set_name, default_collation_name
FROM information_schema.schemata WHERE schema_name = {schema} UNION ALL
(SELECT 'TABLE', table_name, COALESCE(data_length + index_length, 0)
FROM information_schema.tables WHERE table_schema = {schema} AND table_type <> 'VIEW'
ORDER BY 2 LIMIT 1000000)"""
_SESSIONS = """SELECT id FROM information_schema.processlist
WHERE db = {schema} AND id <> CONNECTION_ID()"""
_REFERRING = """SELECT CONCAT(constraint_schema, '.', table_name)
FROM information_schema.referential_constraints
WHERE unique_constraint_schema = {schema} AND constraint_schema <> {schema} LIMIT 1"""
# The table mysql.procs_priv contains the UTF-8 bytes of a name, declared as latin1.
_ROUTINE_GRANTS = """SELECT routine_name FROM mysql.procs_priv
WHERE db = CONVERT(_latin1 {schema} USING utf8mb4) LIMIT 1"""


@dataclass(frozen=True, kw_only=True)
class DatabaseContent:
    """Description of the content of a database, which a move needs."""

    tables: tuple[str, ...]
    code: tuple[StoredCode, ...]
    characters: str  # default character set of the database
    collation: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> "DatabaseContent":
        """Read a content that `as_json` returned."""
        code: Sequence[Mapping[str, Any]] = stored["code"]
        return DatabaseContent(
            tables=tuple(stored["tables"]),
            code=tuple(
                StoredCode(**{**item, "definer": Account(**item["definer"])}) for item in code
            ),
            characters=stored["characters"],
            collation=stored["collation"],
        )


@dataclass(frozen=True, kw_only=True)
class DatabaseSummary:
    """Names and sizes of the parts of a database."""

    characters: tuple[str, str] | None  # character set and collation; None: no such database
    tables: Mapping[str, int]  # sizes in bytes
    code: tuple[tuple[str, str, str], ...]  # kinds, names and definers

    @property
    def exists(self) -> bool:
        return self.characters is not None

    @property
    def has_content(self) -> bool:
        return bool(self.tables or self.code)

    @property
    def size_bytes(self) -> int:
        """Return the size of the tables, at least 1; 0 without content."""
        return max(1, sum(self.tables.values())) if self.has_content else 0

    @property
    def digest(self) -> str:
        """Return a digest of the names of tables and code; "" without database."""
        names = [*self.tables, *("\0".join(item) for item in self.code)]
        return hashlib.sha256("\n".join(names).encode()).hexdigest() if self.exists else ""


def summarise(programs: MariadbPrograms, database: str) -> DatabaseSummary:
    """Read the names and sizes of the parts of a database."""
    statements = (sql.format(schema=literal(database)) for sql in (_SUMMARY, CATALOG))
    rows = execute(programs, *statements)
    characters = [(row[1], row[2]) for row in rows if row[0] == "DATABASE"]
    return DatabaseSummary(
        characters=characters[0] if characters else None,
        tables={row[1]: int(row[2]) for row in rows if row[0] == "TABLE"},
        code=tuple(
            (kind, name, definer)
            for kind, name, definer in rows
            if kind not in ("DATABASE", "TABLE")
        ),
    )


def server_obstacle(programs: MariadbPrograms, needed: str) -> str:
    """Return why the server cannot load a dump of this server version, or ""."""
    rows = execute(programs, "SELECT VERSION()", "SHOW GRANTS")
    version, grants = rows[0][0], [row[0] for row in rows[1:]]
    if "mariadb" not in version.lower() or programs.is_mysql("mariadb"):
        return "the server or its client program is MySQL. Use `standfast backup restore`."
    if parse_version(version) < _OLDEST:
        return "the server is older than MariaDB 10.6. Use `standfast backup restore`."
    if not any(line.startswith(_ALL_RIGHTS) and " WITH GRANT OPTION" in line for line in grants):
        return "its user needs ALL PRIVILEGES ON *.* WITH GRANT OPTION. Grant them."
    if "mariadb" not in needed.lower():
        return "the dump is not of MariaDB. Use `standfast backup restore`."
    if parse_version(needed) > parse_version(version):
        return (
            f"the dump is of version {needed}, and the server is of version {version}. Name a newer"
            " server."
        )
    return ""


def move_obstacle(programs: MariadbPrograms, database: str) -> str:
    """Return why the content of a database cannot be moved, or ""."""
    if referring := _column(programs, _REFERRING, database):
        return f"a foreign key of {referring[0]} refers to it. Drop that key."
    if routine := _column(programs, _ROUTINE_GRANTS, database):
        return (
            f"its routine {routine[0]} has grants of its own, which are lost when it moves. Grant"
            " EXECUTE on the database instead, and revoke them."
        )
    try:
        read_code(programs, database, list_code(programs, database))
    except ProgramFailed as error:
        return str(error)
    return ""


def read_content(programs: MariadbPrograms, database: str) -> DatabaseContent:
    """Return the present content of a database."""
    summary = summarise(programs, database)
    if summary.characters is None:
        raise ProgramFailed("it does not exist")
    characters, collation = summary.characters
    return DatabaseContent(
        tables=tuple(summary.tables),
        code=read_code(programs, database, summary.code),
        characters=characters,
        collation=collation,
    )


def move(
    programs: MariadbPrograms,
    content: DatabaseContent,
    old: str,
    new: str,
    *,
    with_code: bool,
    kept_as: str = "",
) -> None:
    """Move a content from database `old` to database `new`.

    - The call may be repeated after an interruption. Tables that are not in `content` are not
      moved.
    - The stored code is dropped under the old name. If `with_code` is true, it is created under the
      new name.
    - With `kept_as`, if another program creates a table under the new name that prevents the move,
      this table is moved to the database `kept_as`.
    - Without `kept_as`, no other account may have rights on the new name. So if the new name has a
      table of the content, an earlier call has moved it. Then a table of the same name under the
      old name, and all stored code there, are from another program and are not changed.
    """
    execute(
        programs,
        f"CREATE DATABASE IF NOT EXISTS {identifier(new)}",
        f"ALTER DATABASE {identifier(new)} CHARACTER SET {content.characters}"
        f" COLLATE {content.collation}",
    )
    summary = summarise(programs, old)
    if summary.exists:
        _end_sessions(programs, old)
        present = {} if kept_as else summarise(programs, new).tables
        # The tables move after the drop. If they have moved already, another program has created
        # the code that is there now.
        if present.keys().isdisjoint(content.tables):
            # With `kept_as`, no other program uses the old name, so the code need not be compared.
            # The text of a view may have changed, because its definer does not exist any more.
            drop_code(programs, old, content.code, summary.code, only_unchanged=not kept_as)
        _move_tables(
            programs,
            [name for name in content.tables if name in summary.tables and name not in present],
            old,
            new,
            kept_as,
        )
    moved = summarise(programs, new)
    if missing := set(content.tables).difference(moved.tables):
        raise ProgramFailed(f"table {min(missing)} is missing")
    if with_code:
        create_code(programs, new, content.code, moved.code)


def drop_if_empty(programs: MariadbPrograms, database: str, content: DatabaseContent) -> None:
    """Drop a database after its content was moved, unless it is used again.

    It is used again if it has new content, or another character set than the moved content.
    """
    summary = summarise(programs, database)
    if summary.characters == (content.characters, content.collation) and not summary.has_content:
        execute(programs, f"DROP DATABASE {identifier(database)}")


def _move_tables(
    programs: MariadbPrograms, tables: Sequence[str], old: str, new: str, kept_as: str
) -> None:
    """Move tables in one statement.

    The statement first moves tables of the same names out of the new database. If another program
    creates such a table at the same moment, the statement is repeated.
    """
    if not tables:
        return
    for attempt in range(_MOST_TRIES):
        present = summarise(programs, new).tables
        in_the_way = [name for name in tables if kept_as and name in present]
        if in_the_way:
            execute(programs, f"CREATE DATABASE IF NOT EXISTS {identifier(kept_as)}")
        pairs = [(new, kept_as, name) for name in in_the_way]
        pairs += [(old, new, name) for name in tables]
        renames = ", ".join(
            f"{identifier(source)}.{identifier(name)} TO {identifier(to)}.{identifier(name)}"
            for source, to, name in pairs
        )
        try:
            execute(programs, f"RENAME TABLE {renames}")
        except ProgramFailed:
            appeared = summarise(programs, new).tables.keys() - present.keys()
            if not kept_as or appeared.isdisjoint(tables) or attempt == _MOST_TRIES - 1:
                raise
        else:
            return


def _end_sessions(programs: MariadbPrograms, database: str) -> None:
    # Ignore errors, because a session may have ended by itself.
    sessions = [f"KILL {int(number)}" for number in _column(programs, _SESSIONS, database)]
    if sessions:
        execute(programs, *sessions, ignores_errors=True)


def _column(programs: MariadbPrograms, sql: str, database: str) -> list[str]:
    return [row[0] for row in execute(programs, sql.format(schema=literal(database)))]
