"""A killed recovery of a PostgreSQL data directory continues."""

from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.records import timestamp
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery import replacement, staged_restore
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, wrap_ledger
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import installation_at
from tests.usecases.drills.database_installation import drills_folder, working_folders
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.directory_installation import (
    archiving_cluster,
    calls,
    with_directory,
)
from tests.usecases.recovery.recovery_installation import opened

pytestmark = pytest.mark.xdist_group("databases")
KILLED = -9
DEATHS = [
    Death(f"commit recovery.{event} 1", Phase.AFTER)
    for event in ("restoring", "restored", "replacing", "replaced", "done")
] + [
    Death("replay 1", Phase.AFTER),
    Death("write 1", Phase.DURING),
    Death("write 1", Phase.AFTER),
    Death("sync 1", Phase.AFTER),  # between the two renames
    Death("sync 2", Phase.AFTER),
]


def advance(config_file: Path, case: str, log: Path, death: Death | None) -> None:
    """Continue the incident in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    tracer.wrap(RecoveredPostgresql, "recover", "replay", is_within=True)
    tracer.wrap(replacement, "sync_folder", "sync", is_within=True)
    tracer.wrap(staged_restore, "write_directories", "write", is_within=True)
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome


@pytest.mark.sampled
@pytest.mark.parametrize("death", DEATHS, ids=str)
def test_killed_recovery_of_a_data_directory_continues(
    tmp_path: Path, postgres_server: Postgres, death: Death
) -> None:
    log = tmp_path / "trace"
    with archiving_cluster(postgres_server.programs) as cluster, drills_folder() as drills:
        config_file, moment = with_directory(tmp_path, drills, cluster)
        with installation_at(config_file) as installation:
            case = opened(installation, point=timestamp(moment))
            approve_as(installation, case, "recover", "lee")
        assert in_own_process(advance, config_file, case, log, death) == KILLED
        assert in_own_process(advance, config_file, case, log, None) == 0
        assert calls(cluster) == [1, 2]
        assert (working_folders(drills), list(drills.iterdir())) == ([], [])
        with installation_at(config_file) as installation:
            undo_approved(installation, case)
            lifecycle.advance(installation, case, "direct")
        assert {path.name for path in cluster.data.parent.iterdir()} == {
            "data",
            f"data.recovered-{case}",
        }
        assert calls(cluster) == []
