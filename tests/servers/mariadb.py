"""A real MariaDB from Debian: one server a process, one database a test.

- `mariadb_server`: session; it listens on a socket file in its own folder, not on a port. It offers
  TLS there too, and records every statement (`log`).
- Durability is off. The machine's own MariaDB is not read or changed.
- If the tests run as root, so does the server, because other users cannot enter the private folder
  of a test.
"""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.memory_disk import memory_folder
from tests.servers import installed, need, wait_until
from tests.servers.certificate import write_certificate

_WHY = "apt-get install mariadb-server mariadb-client"


@dataclass(frozen=True, kw_only=True)
class Mariadb:
    """A running server."""

    socket: Path
    ca_file: Path
    log: Path  # the server's log of all statements

    @contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """Create an empty database, yield its name, and drop it."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} {options}")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name}")

    def user(self, *grants: str) -> tuple[str, str]:
        """Create a user with a password and grants, as in `SELECT ON *.*`."""
        name, password = f"user_{uuid.uuid4().hex[:16]}", f'p"w\\x #{uuid.uuid4().hex}'
        quoted = password.replace("\\", "\\\\")
        self.execute(
            f"CREATE USER {name}@localhost IDENTIFIED BY '{quoted}'",
            *(f"GRANT {grant} TO {name}@localhost" for grant in grants),
        )
        return name, password

    def execute(self, *statements: str, database: str = "mysql") -> None:
        """Run statements as root, in one client process."""
        self._client(";\n".join(statements), database)

    def rows(self, query: str, *, database: str = "mysql") -> list[list[str]]:
        """Return the rows of a query, as the client writes them."""
        return [line.split("\t") for line in self._client(query, database).splitlines()]

    def _client(self, statement: str, database: str) -> str:
        words = ["mariadb", "--no-defaults", "-N", "-B", "-uroot", f"--socket={self.socket}"]
        done = subprocess.run(
            [*words, "--default-character-set=utf8mb4", database],
            input=statement.encode(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


@contextmanager
def running_mariadb() -> Iterator[Mariadb]:
    """Start MariaDB in a new folder; kill it and remove the folder."""
    # The path of a socket file has a length limit, so this path is short.
    folder = Path(tempfile.mkdtemp(prefix="sf-mdb-", dir=memory_folder()))
    # At its start a server removes the files in its temporary folder, so each server has its own.
    tables = folder / "tmp"
    tables.mkdir()
    try:
        user = ["--user=root"] if os.geteuid() == 0 else []
        made = subprocess.run(
            [
                installed("mariadb-install-db"), "--no-defaults", f"--datadir={folder / 'data'}",
                "--auth-root-authentication-method=normal", "--skip-test-db", *user,
                "--innodb-log-file-size=8M", f"--tmpdir={tables}",
            ],
            capture_output=True,
            check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()[-2000:]
        certificate, key = write_certificate(folder)
        statements = folder / "statements"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    installed("mariadbd"), "--no-defaults", f"--datadir={folder / 'data'}",
                    f"--socket={folder / 's.sock'}", f"--pid-file={folder / 'pid'}",
                    "--skip-networking", *user, "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M",
                    "--skip-log-bin", "--loose-innodb-doublewrite=OFF", f"--tmpdir={tables}",
                    f"--ssl-cert={certificate}", f"--ssl-key={key}",
                    "--general-log", f"--general-log-file={statements}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                server = Mariadb(socket=folder / "s.sock", ca_file=certificate, log=statements)
                wait_until(
                    lambda: process.poll() is not None or _answers(server), "MariaDB answers"
                )
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                yield server
            finally:
                process.kill()
                process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(server: Mariadb) -> bool:
    if not server.socket.exists():
        return False
    try:
        server.execute("SELECT 1")
    except AssertionError:
        return False
    return True


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Mariadb]:
    """A MariaDB server for this test process."""
    need("mariadb-install-db", _WHY)
    need("mariadb-dump", _WHY)
    with running_mariadb() as server:
        yield server
