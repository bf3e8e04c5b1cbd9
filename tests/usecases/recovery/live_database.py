"""A database of a real server, backed up and then damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from standfast.usecases.backups.backup_run import run_backup
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.drills.database_installation import CHECK, MARIADB_SOURCE, SOURCE, TABLES
from tests.usecases.installations import enrol_people
from tests.usecases.recovery.recovery_installation import PLAYBOOK

AFTER = ["Ünal", "O'Hara"]  # after a recovery
BEFORE = ["encrypted", "encrypted"]
# Objects that MariaDB cannot move to a database of another name. {name} is also their definer.
MARIADB_CODE = (
    "CREATE USER {name}@localhost",
    "GRANT ALL ON {name}.* TO {name}@localhost",
    "CREATE DEFINER={name}@localhost FUNCTION tidy(n INT) RETURNS INT RETURN n /* n */",
    "CREATE DEFINER={name}@localhost VIEW ordered AS SELECT name FROM customers",
    "CREATE DEFINER={name}@localhost VIEW names AS SELECT name FROM ordered",
    (
        "CREATE DEFINER={name}@localhost TRIGGER {name}.upper BEFORE INSERT ON {name}.calls"
        " FOR EACH ROW SET NEW.id = tidy(NEW.id)"
    ),
    "CREATE DEFINER={name}@localhost PROCEDURE `it's`() SELECT name FROM names",
    "CREATE DEFINER={name}@localhost EVENT nightly ON SCHEDULE EVERY 1 DAY DO CALL `it's`()",
)


@dataclass(frozen=True, kw_only=True)
class LiveDatabase:
    """One database; `beside` names the database that a recovery renamed."""

    server: Postgres | Mariadb
    name: str

    def execute(self, *statements: str, database: str = "") -> None:
        self.server.execute(*statements, database=database or self.name)

    def column(self, sql: str, database: str = "") -> list[str]:
        return [str(row[0]) for row in self.server.rows(sql, database=database or self.name)]

    def names(self, database: str = "") -> list[str]:
        return self.column("SELECT name FROM customers ORDER BY id", database)

    def beside(self) -> list[str]:
        start = self.name[:30]  # long names are cut for their ending
        return [name for name in self._all() if name.startswith(start) and name != self.name]

    def exists(self) -> bool:
        return self.name in self._all()

    def drop(self, name: str = "") -> None:
        is_postgres = isinstance(self.server, Postgres)
        force = " WITH (FORCE)" if is_postgres else ""
        name = name or self.name
        self.execute(
            f"DROP DATABASE {name}{force}", database="postgres" if is_postgres else "mysql"
        )

    def create(self) -> None:
        database = "postgres" if isinstance(self.server, Postgres) else "mysql"
        self.execute(f"CREATE DATABASE {self.name}", database=database)

    def _all(self) -> list[str]:
        if isinstance(self.server, Postgres):
            return self.column("SELECT datname FROM pg_database ORDER BY 1", "postgres")
        return self.column("SHOW DATABASES", "mysql")


@contextmanager
def live_database(server: Postgres | Mariadb) -> Iterator[LiveDatabase]:
    """Create a database; drop it at the end, with all that a recovery renamed."""
    with server.database() as name:
        live = LiveDatabase(server=server, name=name)
        is_mariadb = isinstance(server, Mariadb)
        code = (statement.format(name=name) for statement in MARIADB_CODE)
        live.execute(*TABLES, *(code if is_mariadb else ()))
        yield live
        if is_mariadb:
            live.execute(f"DROP USER {name}@localhost", database="mysql")
        for other in live.beside():
            live.drop(other)
        if not live.exists():
            live.create()  # the server drops it


def with_database(
    folder: Path, live: LiveDatabase, more: str = CHECK, programs: Path | None = None
) -> Path:
    """Back a database up and damage it; return the configuration file.

    `programs` is a folder with other client programs.
    """
    if isinstance(live.server, Postgres):
        source = SOURCE.replace("{host}", str(live.server.socket_folder))
        source = source.replace("{programs}", str(programs or live.server.programs))
    else:
        source = MARIADB_SOURCE.replace("{host}", str(live.server.socket))
        source += f'programs = "{programs}"\n' if programs else ""
    settings = f"""
[drills]
identity = "file:{identity(folder)}"

[playbooks]
folder = "playbooks"

[backup.sets.servers.recovery.crm-server]
into = "crm-server"
"""
    config_file = furnish(folder, (source + settings + more).replace("{database}", live.name))
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "bring-back.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as installation:
        run_backup(installation, "servers", "direct")
        enrol_people(installation)
    live.execute("UPDATE customers SET name = 'encrypted'")
    return config_file
