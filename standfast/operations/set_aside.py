"""Alerts that could not be dealt with: kept, named, counted, and tried again where that may help.

One alert that trips over a mistake of ours, or whose playbook is broken, must not keep the ones
behind it from opening anything.

Rules
- The line is kept as it came, in a private file of its own beside the send log; then the ledger
  says that it was set aside: a run of kind `alert`. Doing both again changes nothing.
- Of an error that nobody foresaw only its class is told: its text may quote the line.
- What waits for a playbook lies in a folder of its own, a folder a trigger, and is opened once that
  can be; then its file goes, and its run is done.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from standfast.config import Config
from standfast.evidence.durable import make_private, write_whole
from standfast.ledger import Ledger
from standfast.ledger.run_row import RunRow
from standfast.operations.place import Place
from standfast.operations.triggers import PlaybookLacking, Trigger
from standfast.triggers.suricata import line_id

KIND = "alert"
LACKING = "its playbook cannot be opened"  # why; what is set aside for another reason stays so
_FAILED = "failed"
_DONE = "done"
_SHOWN_FOR = timedelta(days=7)  # nothing calls it over, so it goes when a week has passed


def set_aside(place: Place, trigger: Trigger, line: bytes, error: Exception) -> Path:
    """Keep an alert that could not be dealt with; give the file that it lies in."""
    name = line_id(line)
    is_lacking = isinstance(error, PlaybookLacking)
    folder = _waiting_in(place.config, trigger) if is_lacking else folder_of(place.config)
    path = folder / f"{trigger.name}-{name[:16]}.json"
    make_private(path.parent)
    write_whole(path, line)
    if _run_of(place, trigger, name) is None:
        runs, now = place.ledger.runs, place.clock()
        why = LACKING if is_lacking else f"unexpected {type(error).__name__}"
        token = runs.start(KIND, trigger.name, "serve", trigger.actor, now)
        runs.finish(token, KIND, _FAILED, {"line": name, "why": why}, trigger.actor, now)
    return path


def waiting(config: Config, trigger: Trigger) -> Iterator[tuple[Path, bytes]]:
    """Give the alerts of a trigger that wait for its playbook, each with the file it lies in."""
    for path in sorted(_waiting_in(config, trigger).glob("*.json")):
        yield path, path.read_bytes()


def dealt_with(place: Place, trigger: Trigger, path: Path, line: bytes, came_to: str) -> None:
    """Note what an alert that had waited came to after all, and let go of its file."""
    if run := _run_of(place, trigger, line_id(line)):
        summary = {**run.summary, "came_to": came_to}
        place.ledger.runs.finish(run.id, KIND, _DONE, summary, trigger.actor, place.clock())
    path.unlink(missing_ok=True)


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


def _waiting_in(config: Config, trigger: Trigger) -> Path:
    return folder_of(config) / "waiting" / trigger.name


def _run_of(place: Place, trigger: Trigger, line: str) -> RunRow | None:
    found = place.ledger.runs.all(KIND, trigger.name)
    return next((run for run in found if run.summary.get("line") == line), None)
