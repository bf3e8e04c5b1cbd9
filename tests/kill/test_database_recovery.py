"""A killed recovery of a database, or its undo, continues."""

from pathlib import Path

import pytest

from backup.targets import Target, mariadb_move
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.errors import ExitStatus
from standfast.usecases.incidents import lifecycle
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.live_database import AFTER, BEFORE, live_database, with_database
from tests.usecases.recovery.recovery_installation import opened

pytestmark = pytest.mark.xdist_group("databases")
KILLED = -9
RECOVERY, UNDO = PARTS = ("recovery", "undo")
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


def run(
    folder: Path, server: Postgres | Mariadb, death: Death | None, killed: str = ""
) -> dict[str, Path]:
    """Recover and undo, one of them with a kill; return the trace of each."""
    folder.mkdir()
    logs = {part: folder / f"trace of {part}" for part in PARTS}
    with live_database(server) as live:
        config_file = with_database(folder, live)
        with installation_at(config_file) as installation:
            case = opened(installation)
            approve_as(installation, case, "recover", "lee")
        for part, log in logs.items():
            if part == UNDO:
                with installation_at(config_file) as installation:
                    undo_approved(installation, case)
            if part == killed:
                assert in_own_process(advance, config_file, case, log, death) == KILLED, death
            assert in_own_process(advance, config_file, case, log, None) == 0, death
            word, names = ("_before_", AFTER) if part == RECOVERY else ("_recovered_", BEFORE)
            assert live.names() == names, death
            (other,) = [name for name in live.beside() if word in name]
            assert live.names(other) == (BEFORE if part == RECOVERY else AFTER), death
            if isinstance(server, Mariadb):
                users = server.rows("SELECT user FROM mysql.user WHERE user LIKE 'standfast%'")
                assert users == [], death
    return logs


def test_killed_database_recovery_and_undo_continue(
    tmp_path: Path, server: Postgres | Mariadb
) -> None:
    logs = run(tmp_path / "clean", server, None)
    deaths = []
    for part, log in logs.items():
        points = [point for point in traced_points(log) if point.startswith(OF_THE_RECOVERY)]
        assert {"commit", "rename"} <= {point.split(" ")[0] for point in points}
        deaths += [(part, Death(point, phase)) for point in points for phase in Phase]
    chosen = sample(deaths, f"recovery of a database of {type(server).__name__}")
    for number, (part, death) in enumerate(chosen):
        run(tmp_path / str(number), server, death, part)
