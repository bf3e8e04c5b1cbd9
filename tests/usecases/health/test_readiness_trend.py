"""Trend of the readiness score: one record a day, and what changed."""

import threading

import pytest

from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.readiness import Readiness, readiness, write_readiness_page
from standfast.usecases.health.readiness_recorder import ReadinessRecorder
from standfast.usecases.health.readiness_score import total
from standfast.usecases.health.readiness_trend import (
    has_score_of_today,
    record_score,
    recorded_scores,
)
from tests.servers import wait_until
from tests.usecases.alarmed import Night


def seen(night: Night) -> Readiness:
    checked = check_installation(
        night.folder / "standfast.toml", env={}, clock=night.installation.clock
    )
    return readiness(night.installation, checked)


def test_last_score_of_day_counts(night: Night) -> None:
    first = seen(night)
    assert record_score(night.installation, first.score) == ""
    assert [then.score for then in first.trend] == [total(first.score)]
    night.forward(hours=1)
    assert record_score(night.installation, ()) == ""
    assert [recorded.score for recorded in recorded_scores(night.installation)] == [0]
    assert record_score(night.installation, first.score) == ""
    (recorded,) = recorded_scores(night.installation)
    assert recorded.score == total(first.score)
    night.forward(days=1)
    assert not has_score_of_today(night.installation)


def test_unchanged_score_is_recorded_once(night: Night) -> None:
    rows = seen(night).score
    for _ in range(3):
        assert record_score(night.installation, rows) == ""
    assert len(night.installation.ledger.audit.sealed_timeline("readiness")[0]) == 1


def test_trend_names_the_changed_rows(night: Night) -> None:
    rows = seen(night).score
    ready = max(rows, key=lambda row: row.points)
    others = [row for row in rows if row is not ready]
    record_score(night.installation, others)
    night.forward(days=2)
    later = seen(night)
    before, now = later.trend
    assert (before.score, now.score) == (total(others), total(later.score))
    assert later.changes[ready.name] == ready.points > 0
    assert sum(later.changes.values()) == now.score - before.score
    page = write_readiness_page(night.installation, later, night.folder / "r.html").read_text()
    assert "Trend of the score" in page
    assert f"+{ready.points}" in page


def test_forged_score_does_not_count(night: Night) -> None:
    record_score(night.installation, seen(night).score)
    with night.installation.ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE audit_event SET detail = replace(detail, '\"day\"', '\"date\"') "
            "WHERE action = 'readiness.scored'"
        )
    assert recorded_scores(night.installation) == ()


def test_serve_records_score_without_command(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standfast.usecases.health.readiness_recorder.PAUSE_SECONDS", 0.01)
    recorder = ReadinessRecorder(
        installation=night.installation, config_file=night.folder / "standfast.toml", env={}
    )
    recorder.begin()
    try:
        wait_until(lambda: has_score_of_today(night.installation), "the score is recorded")
    finally:
        recorder.end()
        for thread in threading.enumerate():
            if thread.name == "readiness":
                thread.join(30)
    assert len(recorded_scores(night.installation)) == 1
