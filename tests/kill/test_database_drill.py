"""A killed drill of a database leaves nothing after the next drill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.targets import Target
from standfast.errors import ExitStatus
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql
from standfast.usecases.drills.throwaway.server_process import ServerProcess
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points
from tests.sampling import sample
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.servers.postgres_cluster import Cluster
from tests.usecases.backup_installation import identity, installation_at
from tests.usecases.drills.database_installation import (
    SET,
    TABLES,
    backed_up,
    drills_folder,
    working_folders,
)
from tests.usecases.drills.test_log_replay_drill import backed_up as replayable
from tests.usecases.drills.test_log_replay_drill import cluster

__all__ = ["cluster"]  # the fixture
pytestmark = pytest.mark.xdist_group("databases")
KILLED = -9
STEPS = {
    ServerProcess: ("create_folder", "run", "start", "wait_until", "end"),
    Target: ("restore", "restore_globals"),
    RecoveredPostgresql: ("recover",),
}


def drill(config_file: Path, set_name: str, log: Path, death: Death | None) -> None:
    """Drill in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    for owner, names in STEPS.items():
        for name in names:
            tracer.wrap(owner, name, name)
    with installation_at(config_file) as installation:
        outcome = run_drill(installation, set_name, identity(config_file.parent))
    assert outcome.exit_status is ExitStatus.DONE, outcome.as_json()


@pytest.fixture
def drills() -> Iterator[Path]:
    with drills_folder() as folder:
        yield folder


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_next_drill_removes_leftovers_of_killed_drill(
    kind: str, tmp_path: Path, drills: Path, request: pytest.FixtureRequest
) -> None:
    fixture = {"postgresql": "postgres_server", "mariadb": "mariadb_server"}[kind]
    server: Postgres | Mariadb = request.getfixturevalue(fixture)
    with server.database() as database:
        server.execute(*TABLES, database=database)
        config_file = backed_up(tmp_path, drills, server, database)
    die_everywhere(config_file, SET, drills, f"{kind} drill")


def test_next_drill_removes_leftovers_of_killed_replay(
    tmp_path: Path, drills: Path, cluster: Cluster
) -> None:
    config_file, _ = replayable(tmp_path, drills, cluster)
    die_everywhere(config_file, "base", drills, "replay drill")


def die_everywhere(config_file: Path, set_name: str, drills: Path, name: str) -> None:
    """Die before, in and after each step, and drill again after each death."""
    log = config_file.parent / "trace"
    assert in_own_process(drill, config_file, set_name, log, None) == 0
    deaths = [Death(point, phase) for point in traced_points(log) for phase in Phase]
    for death in sample(deaths, name):
        assert in_own_process(drill, config_file, set_name, log, death) == KILLED, death
        assert in_own_process(drill, config_file, set_name, log, None) == 0, death
        assert working_folders(drills) == [], death
        assert [path.name for path in drills.iterdir()] == ["reports"], death
