"""Output of `standfast backup restore --into` on a real server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import furnish, identity

INTO = ("backup", "restore", "latest", "--set", "main", "--into", "db")

pytestmark = pytest.mark.xdist_group("postgresql")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give either --to DIR for a folder, or --into NAME for a server"),
        (("--to", "out", "--into", "crm"), "--into NAME for a server"),
        (("--to", "out", "--replace"), "--replace and --globals need --into"),
    ],
)
def test_restore_target_is_folder_or_server(
    desk: Desk, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    answer = desk.run("backup", "restore", "latest", *words)
    assert answer.status == 2
    assert says in answer.err


@pytest.fixture
def backed_up(
    desk: Desk, tmp_path: Path, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Return a database name with a 7 in it, stored in the last point."""
    monkeypatch.setenv("PATH", f"{postgres_server.programs}:{os.environ['PATH']}")
    with postgres_server.database() as name:
        postgres_server.execute("CREATE TABLE t AS SELECT 7 AS n", database=name)
        source = (
            '[[backup.sets.main.sources]]\nkind = "postgresql"\nname = "db"\nuser = "postgres"\n'
            f'host = "{postgres_server.socket_folder}"\ndatabases = ["{name}"]\n'
        )
        desk.use(furnish(tmp_path / "place", more=source))
        assert desk.run("backup", "run", "main").status == 0
        yield name


def test_a_dump_is_restored_by_one_command(
    desk: Desk, tmp_path: Path, postgres_server: Postgres, backed_up: str
) -> None:
    words = (*INTO, "--identity", identity(tmp_path / "place"))
    refused = desk.run(*words)
    assert refused.status == 4
    assert f"database {backed_up} is not empty" in refused.out
    postgres_server.execute("UPDATE t SET n = 8", database=backed_up)
    done = desk.run(*words, "--replace")
    assert done.status == 0
    assert f"database {backed_up}" in done.out
    assert postgres_server.rows("SELECT n FROM t", database=backed_up) == [(7,)]
    assert desk.json(*words, "--replace")["dumps"][0]["database"] == backed_up


def test_dump_is_restored_without_ledger(
    desk: Desk, tmp_path: Path, postgres_server: Postgres, backed_up: str
) -> None:
    (tmp_path / "place" / "ledger.db").write_bytes(b"no database" * 1000)
    postgres_server.execute("UPDATE t SET n = 8", database=backed_up)
    done = desk.run(*INTO, "--identity", identity(tmp_path / "place"), "--replace")
    assert done.status == 0, done.err
    assert "The ledger did not record this restore" in done.out
    assert postgres_server.rows("SELECT n FROM t", database=backed_up) == [(7,)]
