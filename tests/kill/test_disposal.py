"""A killed disposal is completed; half a disposal never counts as whole."""

import os
import shutil
from pathlib import Path

from standfast.errors import ExitStatus, UsageError
from standfast.usecases.evidence import folder_disposal
from standfast.usecases.evidence.disposal import approve_disposal
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.usecases.evidence.test_disposal import Case, closed_incident
from tests.usecases.installations import installation_at

KILLED = -9
OF_THE_DISPOSAL = ("commit evidence", "unlink", "rmdir", "replace", "append custody")


def approve(config_file: Path, incident: str, log: Path, death: Death | None) -> None:
    """Approve the disposal in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    for name in ("unlink", "rmdir", "replace"):
        tracer.wrap(os, name, name, is_within=True)
    tracer.wrap(folder_disposal, "append_custody", "append custody", is_within=True)
    with installation_at(config_file) as installation:
        try:
            outcome = approve_disposal(installation, incident, "lee")
        except UsageError:  # an earlier run recorded the end
            return
    assert outcome.exit_status is ExitStatus.DONE, outcome


def test_killed_disposal_is_completed(tmp_path: Path) -> None:
    folder, saved, log = tmp_path / "case", tmp_path / "saved", tmp_path / "trace"
    folder.mkdir()
    config_file, incident = closed_incident(folder)
    with installation_at(config_file) as installation:
        Case(installation, folder, incident).request()
    shutil.copytree(folder, saved)
    assert in_own_process(approve, config_file, incident, log, None) == 0
    points = [point for point in traced_points(log) if point.startswith(OF_THE_DISPOSAL)]
    assert {point.rpartition(" ")[0].partition(" evidence.")[0] for point in points} == {
        label.partition(" evidence")[0] for label in OF_THE_DISPOSAL
    }
    deaths = [*(Death(point, Phase.BEFORE) for point in points), Death(points[-1], Phase.AFTER)]
    for number, death in enumerate(sample(deaths, "disposal")):
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
        arguments = (config_file, incident, tmp_path / f"trace {number}")
        assert in_own_process(approve, *arguments, death) == KILLED, death
        with installation_at(config_file) as installation:
            case = Case(installation, folder, incident)
            is_sound = case.verified() is ExitStatus.DONE
            assert not is_sound or case.is_complete() or case.is_disposed(), death
        assert in_own_process(approve, *arguments, None) == 0, death
        with installation_at(config_file) as installation:
            case = Case(installation, folder, incident)
            assert case.is_disposed(), death
            assert case.verified() is ExitStatus.DONE, death
            assert not list(folder.rglob("*.age")), death
            assert not (case.sealed / "files").exists(), death
