"""Surprise drills draw the service, the points and the time from a seed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from standfast.errors import ConfigurationError, ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.maintenance_schedule import lateness
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import mark_dead_runs_failed
from standfast.usecases.drills.service_drill import ServiceDrillOutcome, drill_services
from standfast.usecases.drills.surprise_draw import Draw, draw_of_window, draw_service
from standfast.usecases.drills.surprise_drill import LOOK_MINUTES, drill_by_surprise
from tests.usecases.backup_installation import NOW, change, furnish, installation_at
from tests.usecases.drills.test_service_drill import SERVICES

HOURS = 100
SCHEDULE = f"""
[drills]
identity = "file:offline/custodian.txt"

[drills.schedule.surprise]
begins = "0 3 1 * *"
hours = {HOURS}
"""
WINDOW = NOW.replace(day=1, month=NOW.month % 12 + 1, year=NOW.year + (NOW.month == 12))


@contextmanager
def opened(folder: Path, now: list[datetime]) -> Iterator[Installation]:
    config_file = folder / "standfast.toml"
    if not config_file.exists():
        furnish(folder, SERVICES + SCHEDULE)
    with installation_at(config_file, clock=lambda: now[0]) as installation:
        yield installation


def back_up(installation: Installation) -> None:
    for name in ("main", "other"):
        run_backup(installation, name, "direct")


def until_drilled(installation: Installation, now: list[datetime]) -> ServiceDrillOutcome | None:
    """Check as often as `serve` does, until a drill or the end of the window."""
    while now[0] < WINDOW + timedelta(hours=HOURS + 1):
        if (outcome := drill_by_surprise(installation, "serve")) is not None:
            return outcome
        now[0] += timedelta(minutes=LOOK_MINUTES)
    return None


def test_window_has_one_drill_at_the_drawn_moment(tmp_path: Path) -> None:
    now = [WINDOW - timedelta(minutes=1)]
    with opened(tmp_path, now) as installation:
        back_up(installation)
        assert drill_by_surprise(installation, "serve") is None
        outcome = until_drilled(installation, now)
        assert outcome is not None
        assert outcome.drawn is not None
        assert outcome.drawn.at is not None
        assert timedelta(0) <= now[0] - outcome.drawn.at <= timedelta(minutes=LOOK_MINUTES)
        assert outcome.drawn.service in outcome.waves[-1]
        assert until_drilled(installation, now) is None
        assert [run.way for run in installation.ledger.runs.all("drill", "any.service")] == [
            "serve"
        ]


def test_restart_finds_the_draw_of_the_window(tmp_path: Path) -> None:
    now, draws = [WINDOW], []
    length = timedelta(hours=HOURS)
    for _ in range(3):
        with opened(tmp_path, now) as installation:
            draws.append(draw_of_window(installation, WINDOW, length, "serve"))
        now[0] += timedelta(hours=1)
    assert draws == [draws[0]] * 3
    with opened(tmp_path, now) as installation:
        assert len(installation.ledger.runs.all("draw")) == 1
        assert draw_of_window(installation, WINDOW + 10 * length, length, "serve") not in draws


def test_drill_whose_process_died_is_repeated(tmp_path: Path) -> None:
    now = [WINDOW]
    with opened(tmp_path, now) as installation:
        back_up(installation)
        drawn = draw_of_window(installation, WINDOW, timedelta(hours=1), "serve")
        now[0] += timedelta(hours=1)
        token = installation.runs.start("drill", "any.service", "serve", "os:test", now[0])
        lock = installation.config.backup.send_log.parent / "drill-any.service.lock"
        lock.touch()
        assert mark_dead_runs_failed(installation, {}) == (("drill", "any.service"),)
        outcome = drill_by_surprise(installation, "serve")
        assert outcome is not None
        assert outcome.drawn == drawn
        assert outcome.run != token
        assert drill_by_surprise(installation, "serve") is None


def test_seed_repeats_service_and_points(tmp_path: Path) -> None:
    with opened(tmp_path, [NOW]) as installation:
        for _ in range(5):
            back_up(installation)
            change(tmp_path)
            (tmp_path / "recordings" / "2026" / "call-2.wav").touch()
        services = installation.config.services
        drawn = draw_service(services, 7)
        assert drawn == draw_service(services, 7)
        assert {draw_service(services, seed).service for seed in range(40)} == {*services}
        points = {
            seed: point_of(installation, Draw(seed=seed, service="telephony")) for seed in range(6)
        }
        assert len({*points.values()}) > 1
        assert point_of(installation, Draw(seed=0, service="telephony")) == points[0]


def point_of(installation: Installation, drawn: Draw) -> str:
    outcome = drill_services(installation, [drawn.service], None, drawn=drawn)
    return outcome.drills["other"].point.name


def test_lost_work_counts_until_the_next_point(tmp_path: Path) -> None:
    now = [NOW]
    with opened(tmp_path, now) as installation:
        for _ in range(4):
            back_up(installation)
            now[0] += timedelta(hours=2)
        now[0] += timedelta(days=30)
        rpo = {
            outcome.drills["other"].point.name: outcome.rpo_ms
            for seed in range(12)
            for drawn in [Draw(seed=seed, service="telephony")]
            for outcome in [drill_services(installation, ["telephony"], None, drawn=drawn)]
        }
    newest = max(rpo)
    assert len(rpo) > 2
    assert {value for name, value in rpo.items() if name != newest} == {2 * 3600 * 1000}


def test_report_has_seed_window_and_service(tmp_path: Path) -> None:
    now = [WINDOW]
    with opened(tmp_path, now) as installation:
        back_up(installation)
        outcome = until_drilled(installation, now)
        assert outcome is not None
        assert outcome.drawn is not None
        assert outcome.report is not None
        report = json.loads(outcome.report.read_bytes())["report"]
        assert report["surprise"] == outcome.drawn.as_json()
        assert outcome.exit_status in (ExitStatus.DONE, ExitStatus.PARTIAL)


def test_missing_surprise_drills_are_an_alarm(tmp_path: Path) -> None:
    now = [NOW]
    with opened(tmp_path, now) as installation:
        now[0] += timedelta(days=100)
        raised = {alarm.subject for alarm in lateness(installation) if alarm.is_raised}
        assert "drill.any.service" in raised


def test_schedule_without_a_service_is_refused(tmp_path: Path) -> None:
    config_file = furnish(tmp_path, SCHEDULE)
    with pytest.raises(ConfigurationError), installation_at(config_file):
        pass
