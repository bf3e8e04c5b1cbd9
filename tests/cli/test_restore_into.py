"""`standfast backup restore --into`: what it says, on a real server."""

import os
from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.operations.backup_place import furnish, identity
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.xdist_group("postgresql")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "say where to: --to DIR for a folder, or --into NAME for a server"),
        (("--to", "out", "--into", "crm"), "say where to"),
        (("--to", "out", "--replace"), "--replace and --globals go with --into"),
    ],
)
def test_one_of_a_folder_and_a_server_is_named(
    desk: Desk, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    answer = desk.run("backup", "restore", "latest", *words)
    assert answer.status == 2
    assert says in answer.err


def test_a_dump_is_restored_by_one_command(
    desk: Desk, tmp_path: Path, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{postgres_server.programs}:{os.environ['PATH']}")
    with postgres_server.database() as name:
        postgres_server.execute("CREATE TABLE t AS SELECT 7 AS n", database=name)
        source = (
            '[[backup.sets.main.sources]]\nkind = "postgresql"\nname = "db"\nuser = "postgres"\n'
            f'host = "{postgres_server.socket_folder}"\ndatabases = ["{name}"]\n'
        )
        desk.use(furnish(tmp_path / "place", more=source))
        words = ("backup", "restore", "latest", "--set", "main", "--into", "db")
        known = ("--identity", identity(tmp_path / "place"))
        assert desk.run("backup", "run", "main").status == 0
        refused = desk.run(*words, *known)
        assert refused.status == 4
        assert f"database {name} is not empty" in refused.out
        postgres_server.execute("UPDATE t SET n = 8", database=name)
        done = desk.run(*words, *known, "--replace")
        assert done.status == 0
        assert f"database {name}" in done.out
        assert postgres_server.rows("SELECT n FROM t", database=name) == [(7,)]
        assert desk.json(*words, *known, "--replace")["dumps"][0]["database"] == name
