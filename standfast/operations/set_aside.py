"""Alerts that could not be dealt with for a reason that nobody foresaw: kept, named, counted.

One alert that trips over a mistake of ours must not keep the ones behind it from opening anything.

Rules
- The line is kept as it came, in a private file of its own beside the send log; then the ledger
  says that it was set aside: a run of kind `alert`. Doing both again changes nothing.
- Of the error only its class is told: its text may quote the line.
"""

from datetime import datetime, timedelta
from pathlib import Path

from standfast.config import Config
from standfast.evidence.durable import make_private, write_whole
from standfast.ledger import Ledger
from standfast.ledger.run_row import RunRow
from standfast.operations.place import Place
from standfast.operations.triggers import Trigger
from standfast.triggers.suricata import line_id

KIND = "alert"
_FAILED = "failed"
_SHOWN_FOR = timedelta(days=7)  # nothing calls it over, so it goes when a week has passed


def set_aside(place: Place, trigger: Trigger, line: bytes, error: Exception) -> Path:
    """Keep an alert that could not be dealt with; give the file that it lies in."""
    name = line_id(line)
    path = folder_of(place.config) / f"{trigger.name}-{name[:16]}.json"
    make_private(path.parent)
    write_whole(path, line)
    runs = place.ledger.runs
    if not any(run.summary.get("line") == name for run in runs.all(KIND, trigger.name)):
        now = place.clock()
        summary = {"line": name, "why": f"unexpected {type(error).__name__}"}
        token = runs.start(KIND, trigger.name, "serve", trigger.actor, now)
        runs.finish(token, KIND, _FAILED, summary, trigger.actor, now)
    return path


def folder_of(config: Config) -> Path:
    """Give the folder in which they lie."""
    return config.backup.send_log.parent / "set-aside"


def recent(ledger: Ledger, trigger: str, now: datetime) -> list[RunRow]:
    """Give what was set aside of a trigger in the last days, newest first."""
    return [
        run
        for run in ledger.runs.all(KIND, trigger, states=[_FAILED])
        if now - run.started_at <= _SHOWN_FOR
    ]
