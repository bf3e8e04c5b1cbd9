"""Timeline of frozen logs."""

import io
import tracemalloc
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.evidence.review.account_names import AccountNames
from standfast.evidence.review.detections import Detector, Thresholds
from standfast.evidence.review.log_timeline import Log, Marks, collect_events, merged_events
from standfast.evidence.review.sorted_runs import SortedRuns
from standfast.evidence.review.timeline_counts import TimelineCounts

FIRST = b"2026-11-25T02:13:44Z app: a\n2026-11-25T02:13:45Z app: b\n"
MORE = FIRST + b"2026-11-25T02:13:45Z app: b\n2026-11-25T02:13:46Z app: c\n"


def log(source: str, content: bytes) -> Log:
    return Log(
        source=source,
        path="/var/log/app.log",
        collected_at=datetime(2026, 11, 25, 3, tzinfo=UTC),
        open=lambda: io.BytesIO(content),
    )


def test_record_frozen_again_appears_once(tmp_path: Path) -> None:
    logs = [log("web", FIRST), log("other", FIRST), log("web", MORE)]
    with closing(SortedRuns(tmp_path)) as runs:
        tallies = collect_events(logs, Marks(), runs)
        found = [(logs[event.log].source, event.line) for event in merged_events(runs)]
    assert [tally.records for tally in tallies] == [2, 2, 4]
    assert found == [
        ("web", 1),
        ("other", 1),
        ("web", 2),
        ("web", 3),
        ("other", 2),
        ("web", 4),
    ]


def peak_bytes(folder: Path, records: int) -> int:
    """Return the peak memory of a timeline, its detections and counts.

    The log has six records a minute.
    """
    begin = datetime(2026, 11, 25, tzinfo=UTC)
    content = "".join(
        f"{begin + timedelta(seconds=10 * number):%Y-%m-%dT%H:%M:%SZ} app: user=agent{number % 30} "
        f"GET /customers/{number} from 10.0.0.{number % 70}\n"
        for number in range(records)
    ).encode()
    thresholds = Thresholds(
        accounts_per_address=20,
        records_per_hour=1_000,
        known_sign_ins=20,
        travel_kmh=900,
        travel_hours=2,
    )
    tracemalloc.start()
    try:
        detector, names, counts = Detector(thresholds, ()), AccountNames(), TimelineCounts()
        with closing(SortedRuns(folder)) as runs:
            collect_events([log("web", content)], Marks(), runs)
            for event in merged_events(runs):
                detector.see(event)
                names.add(event)
                counts.add(event)
            assert sum(1 for _ in merged_events(runs)) == records
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standfast.evidence.review.log_timeline.RUN_ROWS", 100)
    peak_bytes(tmp_path, 100)  # fills the caches
    # Rows in memory would take four times as much. Each sorted run adds some bytes to its index.
    assert peak_bytes(tmp_path, 2_000) < peak_bytes(tmp_path, 500) * 1.5
