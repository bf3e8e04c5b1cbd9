"""Timeline of frozen logs."""

import io
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from standfast.evidence.review.log_timeline import Log, Marks, collect_events, merged_events
from standfast.evidence.review.sorted_runs import SortedRuns

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
