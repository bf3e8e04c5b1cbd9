"""A killed recovery continues, and sets aside exactly the old data."""

import os
from pathlib import Path

from standfast.errors import ExitStatus
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.recovery import replacement
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as
from tests.usecases.recovery.recovery_installation import customers, opened, prepared, tree

KILLED = -9
OF_THE_RECOVERY = ("commit recovery", "commit attempt", "rename", "link", "unlink", "sync")


def advance(config_file: Path, case: str, log: Path, death: Death | None) -> None:
    """Continue the incident in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    for name in ("rename", "link", "unlink"):
        tracer.wrap(os, name, name, is_within=True)
    tracer.wrap(replacement, "sync_folder", "sync", is_within=True)
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome


def approved(folder: Path) -> tuple[Path, str]:
    """Prepare a recovery up to its approval; return its incident."""
    config_file = prepared(folder)
    with installation_at(config_file) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
    return config_file, case


def deaths_of(folder: Path, config_file: Path, case: str) -> list[Death]:
    """Run once without a death; return the deaths at each of its points."""
    log = folder / "trace"
    assert in_own_process(advance, config_file, case, log, None) == 0
    points = [point for point in traced_points(log) if point.startswith(OF_THE_RECOVERY)]
    assert {point.split(" ")[0] for point in points} == {
        word.split(" ")[0] for word in OF_THE_RECOVERY
    }
    return [Death(point, phase) for point in points for phase in (Phase.BEFORE, Phase.AFTER)]


def is_recovered(folder: Path, case: str) -> bool:
    live = folder / "live"
    assert tree(live / f"recordings.before-{case}") == {"ransom-note.txt": b"pay\n"}
    assert (live / f"crm.db.before-{case}").read_bytes() == b"encrypted"
    assert (live / f"crm.db.before-{case}-wal").read_bytes() == b"old log"
    assert customers(live / "crm.db") == customers(folder / "crm.db")
    return tree(live / "recordings") == tree(folder / "recordings")


def is_as_before(folder: Path) -> bool:
    live = folder / "live"
    assert (live / "crm.db").read_bytes() == b"encrypted"
    assert (live / "crm.db-wal").read_bytes() == b"old log"
    return tree(live / "recordings") == {"ransom-note.txt": b"pay\n"}


def test_killed_recovery_continues_and_keeps_old_data(tmp_path: Path) -> None:
    deaths = deaths_of(tmp_path, *approved(tmp_path / "clean"))
    for number, death in enumerate(sample(deaths, "recovery")):
        folder = tmp_path / str(number)
        config_file, case = approved(folder)
        log = tmp_path / f"trace {number}"
        assert in_own_process(advance, config_file, case, log, death) == KILLED, death
        assert in_own_process(advance, config_file, case, log, None) == 0, death
        assert is_recovered(folder, case), death


def test_killed_undo_returns_the_old_data(tmp_path: Path) -> None:
    def undone(folder: Path) -> tuple[Path, str]:
        config_file, case = approved(folder)
        with installation_at(config_file) as installation:
            lifecycle.advance(installation, case, "direct")
            plan = effect_undo.undo(installation, case, requested_by="dana")
            approve_as(installation, case, plan.step, "lee")
        return config_file, case

    deaths = deaths_of(tmp_path, *undone(tmp_path / "clean"))
    for number, death in enumerate(sample(deaths, "undo of a recovery")):
        folder = tmp_path / str(number)
        config_file, case = undone(folder)
        log = tmp_path / f"trace {number}"
        assert in_own_process(advance, config_file, case, log, death) == KILLED, death
        assert in_own_process(advance, config_file, case, log, None) == 0, death
        assert is_as_before(folder), death
