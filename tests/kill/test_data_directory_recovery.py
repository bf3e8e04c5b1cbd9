"""A killed recovery of a data directory, or its undo, continues."""

import os
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.records import timestamp
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery import replacement, set_recovery, staged_restore
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
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
RECOVERY, UNDO = PARTS = ("recovery", "undo")
ACTS = ("replay", "write", "rename", "sync", "remove")
OF_THE_RECOVERY = ("commit recovery", "commit attempt", *ACTS)


def advance(config_file: Path, case: str, log: Path, death: Death | None) -> None:
    """Continue the incident in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    tracer.wrap(RecoveredPostgresql, "recover", "replay", is_within=True)
    tracer.wrap(staged_restore, "write_directories", "write", is_within=True)
    tracer.wrap(os, "rename", "rename", is_within=True)
    tracer.wrap(replacement, "sync_folder", "sync", is_within=True)
    tracer.wrap(set_recovery, "remove_tree", "remove", is_within=True)
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome


def run(folder: Path, programs: Path, death: Death | None, killed: str = "") -> dict[str, Path]:
    """Recover and undo, one of them with a kill; return the trace of each."""
    folder.mkdir()
    logs = {part: folder / f"trace of {part}" for part in PARTS}
    with archiving_cluster(programs) as cluster, drills_folder() as drills:
        config_file, moment = with_directory(folder / "installation", drills, cluster)
        with installation_at(config_file) as installation:
            case = opened(installation, point=timestamp(moment))
            approve_as(installation, case, "recover", "lee")
        for part, log in logs.items():
            if part == UNDO:
                with installation_at(config_file) as installation:
                    undo_approved(installation, case)
            if part == killed:
                assert in_own_process(advance, config_file, case, log, death) == KILLED, death
            assert in_own_process(advance, config_file, case, log, None) == 0, death
            assert (working_folders(drills), list(drills.iterdir())) == ([], []), death
            other = "before" if part == RECOVERY else "recovered"
            names = {path.name for path in cluster.data.parent.iterdir()}
            assert names == {"data", f"data.{other}-{case}"}, death
            if death is not None:
                assert calls(cluster) == ([1, 2] if part == RECOVERY else []), death
    return logs


def test_killed_recovery_of_a_data_directory_continues(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    logs = run(tmp_path / "clean", postgres_server.programs, None)
    deaths = [
        (part, Death(point, phase))
        for part, log in logs.items()
        for point in traced_points(log)
        if point.startswith(OF_THE_RECOVERY)
        for phase in Phase
    ]
    for part, acts in ((RECOVERY, ACTS), (UNDO, ("rename", "sync"))):
        traced = {death.point.split(" ")[0] for killed, death in deaths if killed == part}
        assert traced >= {"commit", *acts}
    for number, (part, death) in enumerate(sample(deaths, "recovery of a data directory")):
        run(tmp_path / str(number), postgres_server.programs, death, part)
