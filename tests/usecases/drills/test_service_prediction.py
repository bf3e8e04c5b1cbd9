"""Drills predict a service's recovery time; a full drill confirms it."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup.reader.path_selection import PathSample
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.service_drill import drill_services
from standfast.usecases.drills.service_prediction import ServicePrediction, predict_recovery
from standfast.usecases.reports.backup_and_drill_results import prediction_lines
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at
from tests.usecases.drills.test_service_drill import SERVICES

FILES, FILE_BYTES = 48, 1024 * 1024


def grow(folder: Path, name: str) -> None:
    for number in range(FILES):
        (folder / "recordings" / f"{name}-{number}.wav").write_bytes(os.urandom(FILE_BYTES))


def crm(installation: Installation) -> ServicePrediction:
    (found,) = predict_recovery(installation)
    return found


def test_prediction_holds_for_a_later_full_drill(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        grow(tmp_path, "first")
        run_backup(installation, "main", "direct")
        run_drill(installation, "main", identity(tmp_path), sample=PathSample(percent=50, seed=1))
        from_sample = crm(installation).prediction
        assert from_sample is not None
        assert not from_sample.has_rest
        first = run_drill(installation, "main", identity(tmp_path)).rto_ms
        assert first is not None
        # Within a factor of ten, because the tests share processors.
        assert first / 10 < from_sample.expected_ms < first * 10
        grow(tmp_path, "second")
        run_backup(installation, "main", "direct")
        predicted = crm(installation).prediction
        assert predicted is not None
        assert predicted.has_rest
        second = run_drill(installation, "main", identity(tmp_path)).rto_ms
        assert second is not None
        assert second / 10 < predicted.expected_ms < second * 10


def test_prediction_with_dependencies_holds_for_a_later_drill(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path, SERVICES)) as installation:
        for name in ("main", "other"):
            run_backup(installation, name, "direct")
        drill_services(installation, ["crm"], identity(tmp_path))
        predicted = {found.service: found.prediction for found in predict_recovery(installation)}
        later = drill_services(installation, ["crm"], identity(tmp_path))
    measured = {result.service: result.rto_actual_ms for result in later.services}
    assert list(measured) == ["telephony", "crm"]
    for service, rto_ms in measured.items():
        prediction = predicted[service]
        assert prediction is not None
        assert rto_ms is not None
        assert rto_ms / 10 < prediction.expected_ms < rto_ms * 10


def clock_with_steps(seconds: int) -> Callable[[], datetime]:
    """Return a clock that moves by this time whenever it is read."""
    moments = iter(range(0, 10**9, seconds))
    start = datetime(2026, 3, 2, tzinfo=UTC)
    return lambda: start + timedelta(seconds=next(moments))


def test_prediction_follows_the_size_of_the_backup(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path), clock=clock_with_steps(1)) as installation:
        run_backup(installation, "main", "direct")
        run_drill(installation, "main", identity(tmp_path))
        small = crm(installation).prediction
        grow(tmp_path, "new")
        run_backup(installation, "main", "direct")
        large = crm(installation).prediction
    assert small is not None
    assert large is not None
    assert large.expected_ms > 10 * small.expected_ms


def test_service_that_was_never_drilled_is_unknown(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        found = crm(installation)
    assert (found.prediction, found.verdict) == (None, "unknown")
    assert found.as_json()["expected_ms"] is None


def test_slow_drills_make_the_rto_unlikely(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path), clock=clock_with_steps(3600)) as installation:
        run_backup(installation, "main", "direct")
        run_drill(installation, "main", identity(tmp_path))
        assert crm(installation).verdict == "unlikely"


def test_failed_drills_predict_nothing(tmp_path: Path) -> None:
    more = SERVICE.replace("customers = 10", "customers = 1000")
    with installation_at(furnish(tmp_path, more)) as installation:
        run_backup(installation, "main", "direct")
        run_drill(installation, "main", identity(tmp_path))
        assert crm(installation).prediction is None


def test_list_and_page_show_predictions_next_to_rto(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        run_drill(installation, "main", identity(tmp_path))
        (listed,) = list_drills(installation, "main").predictions
        (line,) = prediction_lines(installation)
        assert list_drills(installation, "other").predictions == ()
    assert listed.verdict == line.verdict == "likely"
    assert (listed.rto_promised_ms, line.rto) == (3_600_000, timedelta(hours=1))
    assert line.expected is not None
