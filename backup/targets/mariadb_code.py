"""Stored code of a MariaDB database: views, triggers, routines and events.

- MariaDB cannot move stored code to another database. So the code is read, dropped and created
  again.
- The text of an object comes from the server. The definer in the text is compared with the definer
  in the catalog. In the catalog, only a user with the right SET USER can set another definer.
- Each statement is sent in hexadecimal and executed by EXECUTE IMMEDIATE, which refuses a second
  statement. So no name and no text can end a statement or start a command of the client.
- Text in some character sets is refused, because a byte of a letter may be a quote there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from backup.sources.client_programs import ProgramFailed
from backup.sources.mariadb.server import MariadbPrograms, identifier, literal, parse_rows
from backup.targets import feed, query
from backup.targets.mariadb_dump import QUOTED, Account, unquoted

# In binary mode, the client runs no command of its own from its input.
BATCH = ("--batch", "--binary-mode", "--comments", "--max-allowed-packet=1G")
_LOCK_SECONDS = 60  # for transactions that still use a table
_SAFE_CHARACTER_SETS = ("utf8mb4", "utf8mb3", "utf8", "latin1", "ascii", "binary")
_DEFINED = re.compile(
    r"CREATE (?:OR REPLACE )?(?P<algorithm>(?:ALGORITHM=\w+ )?)"
    rf"DEFINER=(?P<user>{QUOTED})@(?P<host>{QUOTED})(?P<tail> .*)",
    re.DOTALL,
)
CATALOG = """SELECT 'FUNCTION', routine_name, definer FROM information_schema.routines
WHERE routine_schema = {schema} AND routine_type = 'FUNCTION' UNION ALL
SELECT routine_type, routine_name, definer FROM information_schema.routines
WHERE routine_schema = {schema} AND routine_type <> 'FUNCTION' UNION ALL
SELECT 'VIEW', table_name, definer FROM information_schema.views
WHERE table_schema = {schema} UNION ALL
SELECT 'EVENT', event_name, definer FROM information_schema.events
WHERE event_schema = {schema} UNION ALL
(SELECT 'TRIGGER', trigger_name, definer FROM information_schema.triggers
WHERE trigger_schema = {schema} ORDER BY event_object_table, action_order LIMIT 1000000)"""
CodeRow = tuple[str, str, str]  # kind, name and definer
# Indexes of columns in the answers of SHOW CREATE: sql_mode, time zone, statement, character set.
_COLUMNS: dict[str, tuple[int | None, int | None, int, int]] = {
    "VIEW": (None, None, 1, 2),
    "TRIGGER": (1, None, 2, 3),
    "PROCEDURE": (1, None, 2, 3),
    "FUNCTION": (1, None, 2, 3),
    "EVENT": (1, 2, 3, 4),
}


@dataclass(frozen=True, kw_only=True)
class StoredCode:
    """One view, trigger, routine or event."""

    kind: str
    name: str
    definer: Account
    algorithm: str  # of a view, as a clause
    tail: str  # the statement after the definer
    sql_mode: str
    time_zone: str
    characters: str
    collation: str

    def defined_by(self, definer: Account) -> "StoredCode":
        """Return the same code with another definer."""
        return replace(self, definer=definer)

    @property
    def statements(self) -> tuple[str, ...]:
        """Statements that create the object and set the session for it."""
        account = f"{identifier(self.definer.user)}@{identifier(self.definer.host)}"
        return (
            f"SET sql_mode = {literal(self.sql_mode)}, time_zone = {literal(self.time_zone)}",
            f"SET character_set_client = {self.characters}",
            f"SET collation_connection = {self.collation}",
            f"CREATE {self.algorithm}DEFINER={account}{self.tail}",
        )


def execute(
    programs: MariadbPrograms, *statements: str, database: str = "", ignores_errors: bool = False
) -> list[list[str]]:
    """Execute statements in one session; return all rows of their answers.

    With `ignores_errors`, continue after errors and return no rows.
    """
    options = (*BATCH, "--skip-column-names", *([f"--database={database}"] if database else []))
    limited = (f"SET lock_wait_timeout = {_LOCK_SECONDS}", *statements)
    sent = "".join(
        f"EXECUTE IMMEDIATE CONVERT({literal(statement)} USING utf8mb4);\n" for statement in limited
    ).encode()
    if ignores_errors:
        feed(programs.command("mariadb", *options, "--force"), lambda: iter([sent]))
        return []
    return parse_rows(query(programs.command("mariadb", *options), lambda: iter([sent])))


def list_code(programs: MariadbPrograms, database: str) -> list[CodeRow]:
    """Return kind, name and definer of all stored code in a database."""
    rows = execute(programs, CATALOG.format(schema=literal(database)))
    return [(kind, name, definer) for kind, name, definer in rows]


def read_code(
    programs: MariadbPrograms, database: str, listed: Sequence[CodeRow]
) -> tuple[StoredCode, ...]:
    """Read listed code; raise `ProgramFailed` if any of it cannot be moved."""
    for kind, name, _ in listed:
        if kind not in _COLUMNS:
            raise ProgramFailed(f"its {kind.lower()} {name} cannot be moved. Drop it.")
    shows = [f"SHOW CREATE {kind} {identifier(name)}" for kind, name, _ in listed]
    rows = execute(programs, *shows, database=database) if shows else []
    if len(rows) != len(listed):
        raise ProgramFailed("its stored code changed while it was read")
    return tuple(
        _parse(kind, name, definer, row)
        for (kind, name, definer), row in zip(listed, rows, strict=True)
    )


def drop_code(
    programs: MariadbPrograms,
    database: str,
    code: Sequence[StoredCode],
    listed: Sequence[CodeRow],
    *,
    only_unchanged: bool,
) -> None:
    """Drop the stored code that is in `code` and is listed.

    With `only_unchanged`, keep an object if its text differs from the text in `code`.
    """
    known = {(item.kind, item.name): item.tail for item in code}
    present = [(kind, name, definer) for kind, name, definer in listed if (kind, name) in known]
    if only_unchanged:
        texts = [item.tail for item in read_code(programs, database, present)]
        present = [row for row, text in zip(present, texts, strict=True) if text == known[row[:2]]]
    if present:
        execute(
            programs,
            *(
                f"DROP {kind} {identifier(database)}.{identifier(name)}"
                for kind, name, _ in present
            ),
        )


def create_code(
    programs: MariadbPrograms, database: str, code: Sequence[StoredCode], listed: Sequence[CodeRow]
) -> None:
    """Create the stored code that is not listed.

    A view or trigger may need another object of the list. So the creation is repeated while each
    repetition creates at least one more object.
    """
    expected = {(item.kind, item.name, str(item.definer)): item for item in code}
    missing = [key for key in expected if key not in listed]
    while missing:
        statements = [text for key in missing for text in expected[key].statements]
        execute(programs, *statements, database=database, ignores_errors=True)
        listed = list_code(programs, database)
        left = [key for key in missing if key not in listed]
        if len(left) == len(missing):
            kind, name, _ = left[0]
            raise ProgramFailed(f"the {kind.lower()} {name} cannot be created in {database}")
        missing = left
    texts = {(item.kind, item.name): item.tail for item in read_code(programs, database, listed)}
    for item in code:
        if texts[item.kind, item.name] != item.tail:
            raise ProgramFailed(f"another {item.kind.lower()} {item.name} is in {database}")


def _parse(kind: str, name: str, definer: str, row: Sequence[str]) -> StoredCode:
    sql_mode, time_zone, statement, characters = _COLUMNS[kind]
    found = _DEFINED.fullmatch(row[statement])
    if found is None:
        raise ProgramFailed(f"its {kind.lower()} {name} has no user as its definer. Drop it.")
    account = Account(user=unquoted(found["user"]), host=unquoted(found["host"]))
    if str(account) != definer:
        raise ProgramFailed(f"its {kind.lower()} {name} changed while it was read")
    if row[characters] not in _SAFE_CHARACTER_SETS or not row[characters + 1].isidentifier():
        raise ProgramFailed(
            f"its {kind.lower()} {name} is written in the character set {row[characters]}, which "
            "cannot be moved safely. Drop it."
        )
    return StoredCode(
        kind=kind,
        name=name,
        definer=account,
        algorithm=found["algorithm"],
        tail=found["tail"],
        sql_mode="" if sql_mode is None else row[sql_mode],
        time_zone="SYSTEM" if time_zone is None else row[time_zone],
        characters=row[characters],
        collation=row[characters + 1],
    )
