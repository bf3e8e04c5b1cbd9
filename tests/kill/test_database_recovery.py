"""A killed recovery of a database continues, and drops nothing."""

from pathlib import Path

import pytest

from backup.targets import Target
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import ExitStatus
from standfast.usecases.incidents import lifecycle
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as
from tests.usecases.recovery.recovery_installation import opened
from tests.usecases.recovery.test_database_recovery import AFTER, NAMES, beside, with_database

pytestmark = pytest.mark.xdist_group("databases")
KILLED = -9
OF_THE_RECOVERY = ("commit recovery", "rename", "restore")


def advance(config_file: Path, case: str, log: Path, death: Death | None) -> None:
    """Continue the incident in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    tracer.wrap(PostgresqlTarget, "rename", "rename", is_within=True)
    tracer.wrap(Target, "restore", "restore", is_within=True)
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome


def recovered(folder: Path, server: Postgres, death: Death | None) -> list[str]:
    """Recover a new database with one kill; return the points of the trace."""
    folder.mkdir()
    log = folder / "trace"
    with server.database() as database:
        config_file = with_database(folder, server, database)
        with installation_at(config_file) as installation:
            case = opened(installation)
            approve_as(installation, case, "recover", "lee")
        if death is not None:
            assert in_own_process(advance, config_file, case, log, death) == KILLED, death
        assert in_own_process(advance, config_file, case, log, None) == 0, death
        assert server.rows(NAMES, database=database) == AFTER, death
        names = [name for (name,) in beside(server, database)]
        (aside,) = [name for name in names if "_before_" in name]
        assert server.rows(NAMES, database=aside) == [("encrypted",)] * 2, death
        for name in names:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    return traced_points(log)


def test_killed_database_recovery_keeps_the_old_database(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    points = recovered(tmp_path / "clean", postgres_server, None)
    chosen = [point for point in points if point.startswith(OF_THE_RECOVERY)]
    assert {point.split(" ")[0] for point in chosen} == {"commit", "rename", "restore"}
    deaths = [Death(point, phase) for point in chosen for phase in Phase]
    for number, death in enumerate(sample(deaths, "recovery of a database")):
        recovered(tmp_path / str(number), postgres_server, death)
