"""Faults in a drill: it fails with a named cause and leaves nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster
from tests.usecases.backup_installation import (
    damage_a_pack,
    full_disk,
    furnish,
    identity,
    installation_at,
)
from tests.usecases.drills.database_installation import (
    CHECK,
    SET,
    TABLES,
    backed_up,
    drills_folder,
    unexpected,
    working_folders,
)
from tests.usecases.drills.test_log_replay_drill import SETTINGS, cluster

__all__ = ["cluster"]  # the fixture
pytestmark = pytest.mark.xdist_group("databases")
MANY_ROWS = (
    "CREATE TABLE filler (content text)",
    "INSERT INTO filler SELECT md5(n::text) || md5((-n)::text) FROM generate_series(1, 600000) n",
)


@pytest.fixture
def drills() -> Iterator[Path]:
    with drills_folder() as folder:
        yield folder


def drilled(config_file: Path, set_name: str = SET) -> DrillOutcome:
    with installation_at(config_file) as installation:
        outcome = run_drill(installation, set_name, identity(config_file.parent))
        assert list_drills(installation).problems == ()
        drills = installation.config.drills.folder
    assert working_folders(drills) == []
    left = {path.name for path in drills.iterdir() if path.suffix != ".output"}
    assert left == {"reports"}
    return outcome


def reasons(outcome: DrillOutcome) -> str:
    failed = [check for check in outcome.checks if check.state is CheckState.FAILED]
    return "\n".join(f"{check.name}: {check.reason} {check.output}" for check in failed)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_hanging_query_ends_at_its_limit(
    kind: str, tmp_path: Path, drills: Path, request: pytest.FixtureRequest
) -> None:
    fixture = {"postgresql": "postgres_server", "mariadb": "mariadb_server"}[kind]
    server: Postgres | Mariadb = request.getfixturevalue(fixture)
    sleep = {"postgresql": "pg_sleep(3600) IS NULL", "mariadb": "sleep(3600) = 7"}[kind]
    more = CHECK.replace("sum(id) = 6 FROM calls", sleep) + "timeout_seconds = 1\n"
    with server.database() as database:
        server.execute(*TABLES, database=database)
        outcome = drilled(backed_up(tmp_path, drills, server, database, more))
    assert outcome.exit_status is ExitStatus.FAILED, unexpected(outcome)
    assert "assertion 1" in reasons(outcome)


def test_damaged_dump_is_named_as_damage(
    tmp_path: Path, drills: Path, postgres_server: Postgres
) -> None:
    with postgres_server.database() as database:
        postgres_server.execute(*TABLES, *MANY_ROWS, database=database)
        config_file = backed_up(tmp_path, drills, postgres_server, database)
    damage_a_pack(tmp_path)
    outcome = drilled(config_file)
    assert outcome.exit_status is ExitStatus.DAMAGED
    assert outcome.damaged_packs
    assert outcome.rto_ms is None


def test_full_disk_fails_the_load_and_is_emptied(
    tmp_path: Path, drills: Path, postgres_server: Postgres
) -> None:
    with postgres_server.database() as database:
        postgres_server.execute(*TABLES, *MANY_ROWS, database=database)
        config_file = backed_up(tmp_path, drills, postgres_server, database)
    with full_disk(drills, "150m") as is_mounted:
        if not is_mounted:
            pytest.skip("only root can mount a small file system")
        drills.chmod(0o711)
        outcome = drilled(config_file)
        free = os.statvfs(drills)
        assert free.f_bavail > free.f_blocks * 0.95
    assert outcome.exit_status is ExitStatus.FAILED, unexpected(outcome)
    assert f"load of crm-server/{database}.dump" in reasons(outcome)


def test_full_disk_during_the_restore_fails_the_drill(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
    with full_disk(tmp_path / "drills", "300k") as is_mounted:
        if not is_mounted:
            pytest.skip("only root can mount a small file system")
        outcome = drilled(config_file, "main")
    assert outcome.exit_status is ExitStatus.FAILED
    assert outcome.rto_ms is None


def test_missing_log_segment_fails_the_replay(
    tmp_path: Path, drills: Path, cluster: Cluster
) -> None:
    values = {"folder": cluster.folder, "programs": cluster.programs, "drills": drills}
    config_file = furnish(tmp_path, SETTINGS.format(**values, total=1))
    with installation_at(config_file) as installation:
        cluster.execute("INSERT INTO calls VALUES (1)")
        run_backup(installation, "base", "direct")
        for number in (2, 3, 4):
            cluster.execute(f"INSERT INTO calls VALUES ({number})", "SELECT pg_switch_wal()")
        run_backup(installation, "log", "direct")
        outcome = run_drill(installation, "base", identity(tmp_path))
        assert "assertion 1 is false" in reasons(outcome), "all four rows are there"
    spool = cluster.folder / "spool"
    for number in (5, 6, 7):
        cluster.execute(f"INSERT INTO calls VALUES ({number})", "SELECT pg_switch_wal()")
    segments = sorted(path for path in spool.iterdir() if len(path.name) == 24)
    segments[-2].unlink()
    with installation_at(config_file) as installation:
        assert run_backup(installation, "log", "direct").result.unread
    outcome = drilled(config_file, "base")
    assert outcome.exit_status is ExitStatus.FAILED
    assert "a segment in between is missing" in reasons(outcome)
