"""A recovery of a database that dies at any step continues."""

from pathlib import Path

import pytest

from backup.targets import Target, mariadb_move
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import ExitStatus
from standfast.usecases.incidents import effect_undo, lifecycle
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as
from tests.usecases.recovery.live_database import AFTER, BEFORE, live_database, with_database
from tests.usecases.recovery.recovery_installation import opened

pytestmark = pytest.mark.xdist_group("databases")
KILLED = -9
OF_THE_RECOVERY = ("commit recovery", "rename", "restore", "code")


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def server(request: pytest.FixtureRequest) -> Postgres | Mariadb:
    found: Postgres | Mariadb = request.getfixturevalue(request.param)
    return found


def advance(config_file: Path, case: str, log: Path, death: Death | None) -> None:
    """Continue the incident in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    tracer.wrap(PostgresqlTarget, "rename", "rename", is_within=True)
    tracer.wrap(Target, "restore", "restore", is_within=True)
    tracer.wrap(MariadbTarget, "move", "rename", is_within=True)
    tracer.wrap(MariadbTarget, "stage", "restore", is_within=True)
    for name in ("drop_code", "create_code"):
        tracer.wrap(mariadb_move, name, "code", is_within=True)
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome


def traced(
    folder: Path, server: Postgres | Mariadb, death: Death | None, *, undoes: bool
) -> list[str]:
    """Recover a database, or undo that, with one kill; return the points."""
    folder.mkdir()
    log = folder / "trace"
    with live_database(server) as live:
        config_file = with_database(folder, live)
        with installation_at(config_file) as installation:
            case = opened(installation)
            approve_as(installation, case, "recover", "lee")
            if undoes:
                lifecycle.advance(installation, case, "direct")
                plan = effect_undo.undo(installation, case, requested_by="dana")
                approve_as(installation, case, plan.step, "lee")
        if death is not None:
            assert in_own_process(advance, config_file, case, log, death) == KILLED, death
        assert in_own_process(advance, config_file, case, log, None) == 0, death
        assert live.names() == (BEFORE if undoes else AFTER), death
        word = "_recovered_" if undoes else "_before_"
        (other,) = [name for name in live.beside() if word in name]
        assert live.names(other) == (AFTER if undoes else BEFORE), death
        if isinstance(server, Mariadb):
            users = server.rows("SELECT user FROM mysql.user WHERE user LIKE 'standfast%'")
            assert users == [], death
    return traced_points(log)


def deaths_of(folder: Path, server: Postgres | Mariadb, *, undoes: bool) -> list[Death]:
    """Run once without a death; return this run's part of the deaths."""
    points = traced(folder, server, None, undoes=undoes)
    chosen = [point for point in points if point.startswith(OF_THE_RECOVERY)]
    assert {"commit", "rename"} <= {point.split(" ")[0] for point in chosen}
    deaths = [Death(point, phase) for point in chosen for phase in Phase]
    return sample(deaths, f"{type(server).__name__} {undoes}")


def test_killed_database_recovery_keeps_the_old_database(
    tmp_path: Path, server: Postgres | Mariadb
) -> None:
    for number, death in enumerate(deaths_of(tmp_path / "clean", server, undoes=False)):
        traced(tmp_path / str(number), server, death, undoes=False)


def test_killed_undo_returns_the_old_database(tmp_path: Path, server: Postgres | Mariadb) -> None:
    for number, death in enumerate(deaths_of(tmp_path / "clean", server, undoes=True)):
        traced(tmp_path / str(number), server, death, undoes=True)
