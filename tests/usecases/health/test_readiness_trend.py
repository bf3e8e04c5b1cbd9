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
from tests.usecases.alarmed import WatchedHost


def seen(host: WatchedHost) -> Readiness:
    checked = check_installation(
        host.folder / "standfast.toml", env={}, clock=host.installation.clock
    )
    return readiness(host.installation, checked)


def test_last_score_of_day_counts(host: WatchedHost) -> None:
    first = seen(host)
    assert record_score(host.installation, first.score) == ""
    assert [then.score for then in first.trend] == [total(first.score)]
    host.forward(hours=1)
    assert record_score(host.installation, ()) == ""
    assert [recorded.score for recorded in recorded_scores(host.installation)] == [0]
    assert record_score(host.installation, first.score) == ""
    (recorded,) = recorded_scores(host.installation)
    assert recorded.score == total(first.score)
    host.forward(days=1)
    assert not has_score_of_today(host.installation)


def test_unchanged_score_is_recorded_once(host: WatchedHost) -> None:
    rows = seen(host).score
    for _ in range(3):
        assert record_score(host.installation, rows) == ""
    assert len(host.installation.ledger.audit.sealed_timeline("readiness")[0]) == 1


def test_trend_names_the_changed_rows(host: WatchedHost) -> None:
    rows = seen(host).score
    ready = max(rows, key=lambda row: row.points)
    others = [row for row in rows if row is not ready]
    record_score(host.installation, others)
    host.forward(days=2)
    later = seen(host)
    before, now = later.trend
    assert (before.score, now.score) == (total(others), total(later.score))
    assert later.changes[ready.name] == ready.points > 0
    assert sum(later.changes.values()) == now.score - before.score
    page = write_readiness_page(host.installation, later, host.folder / "r.html").read_text()
    assert "Trend of the score" in page
    assert f"+{ready.points}" in page


def test_forged_score_does_not_count(host: WatchedHost) -> None:
    record_score(host.installation, seen(host).score)
    with host.installation.ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE audit_event SET detail = replace(detail, '\"day\"', '\"date\"') "
            "WHERE action = 'readiness.scored'"
        )
    assert recorded_scores(host.installation) == ()


def test_serve_records_score_without_command(
    host: WatchedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standfast.usecases.health.readiness_recorder.PAUSE_SECONDS", 0.01)
    recorder = ReadinessRecorder(
        installation=host.installation, config_file=host.folder / "standfast.toml", env={}
    )
    recorder.begin()
    try:
        wait_until(lambda: has_score_of_today(host.installation), "the score is recorded")
    finally:
        recorder.end()
        for thread in threading.enumerate():
            if thread.name == "readiness":
                thread.join(30)
    assert len(recorded_scores(host.installation)) == 1
