"""A recovery of a data directory that dies at any step continues."""

import os
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql
from standfast.usecases.incidents import lifecycle
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import installation_at
from tests.usecases.drills.archiving_cluster import archiving_cluster
from tests.usecases.drills.database_installation import working_folders
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.recovery_installation import opened
from tests.usecases.recovery.test_cluster_recovery import ids, prepared

pytestmark = pytest.mark.xdist_group("databases")
KILLED = -9
OF_THE_RECOVERY = ("commit recovery", "rename", "recover", "shut down")


def advance(config_file: Path, case: str, log: Path, death: Death | None) -> None:
    """Continue the incident in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    tracer.wrap(os, "rename", "rename", is_within=True)
    tracer.wrap(RecoveredPostgresql, "recover", "recover", is_within=True)
    tracer.wrap(RecoveredPostgresql, "shut_down", "shut down", is_within=True)
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome


def traced(folder: Path, postgres: Postgres, death: Death | None, *, undoes: bool) -> list[str]:
    """Recover a data directory, or undo that; return the points."""
    folder.mkdir()
    log = folder / "trace"
    with archiving_cluster(postgres.programs) as cluster:
        cluster.folder.chmod(0o711)
        with cluster.started():
            config_file, moment = prepared(folder, cluster)
        with installation_at(config_file) as installation:
            case = opened(installation, point=moment)
            approve_as(installation, case, "recover", "lee")
            if undoes:
                lifecycle.advance(installation, case, "direct")
                undo_approved(installation, case)
        if death is not None:
            assert in_own_process(advance, config_file, case, log, death) == KILLED, death
        assert in_own_process(advance, config_file, case, log, None) == 0, death
        assert working_folders(cluster.folder) == [], death
        rows = [[1, 2], [1, 2, 4]]
        present, other = reversed(rows) if undoes else rows
        assert ids(cluster) == present, death
        state = "recovered" if undoes else "before"
        beside = cluster.data.with_name(f"data.{state}-{case}")
        beside.rename(cluster.data.rename(cluster.folder / "new").with_name("data"))
        assert ids(cluster) == other, death
    return traced_points(log)


def kill_at_each_step(folder: Path, postgres: Postgres, *, undoes: bool) -> None:
    points = traced(folder / "clean", postgres, None, undoes=undoes)
    chosen = [point for point in points if point.startswith(OF_THE_RECOVERY)]
    assert {"commit", "rename"} <= {point.split(" ")[0] for point in chosen}
    deaths = [Death(point, phase) for point in chosen for phase in (Phase.BEFORE, Phase.AFTER)]
    for number, death in enumerate(sample(deaths, f"data directory {undoes}")):
        traced(folder / str(number), postgres, death, undoes=undoes)


def test_killed_recovery_keeps_the_data_directory(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    kill_at_each_step(tmp_path, postgres_server, undoes=False)


def test_killed_undo_returns_the_data_directory(tmp_path: Path, postgres_server: Postgres) -> None:
    kill_at_each_step(tmp_path, postgres_server, undoes=True)
