"""Alerts that could not be dealt with: kept, named, counted, and tried again where that may help.

One alert that trips over a mistake of ours, or whose playbook is broken, must not keep the ones
behind it from opening anything.

Rules
- The line is kept as it came, in a private file of its own beside the send log; then the ledger
  says that it was set aside: a run of kind `alert`, named by the line. Doing both again changes
  nothing.
- Of an error that nobody foresaw only its class is told: its text may quote the line.
- What a person can mend (a playbook, an incident that does not open) keeps an alert waiting in a
  folder of its own, a folder a trigger; it is opened once that is mended. Then its file goes, and
  its run is done.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from standfast.config import Config
from standfast.errors import StandfastError
from standfast.evidence.durable_files import make_private, write_atomically
from standfast.ledger import Ledger
from standfast.ledger.runs.run_record import RunRecord
from standfast.records import JsonObject
from standfast.triggers.suricata import line_id
from standfast.usecases.core.installation import Installation
from standfast.usecases.triggers.message_intake import PlaybookNotFound, Trigger

KIND = "alert"
_LACKING = "its playbook cannot be opened"
_FAILED = "failed"
_DONE = "done"
_SHOWN_FOR = timedelta(days=7)  # nothing calls it over, so it goes when a week has passed


def set_aside(installation: Installation, trigger: Trigger, line: bytes, error: Exception) -> Path:
    """Keep an alert that could not be dealt with; give the file that it lies in."""
    waits = isinstance(error, StandfastError)
    folder = _waiting_in(installation.config, trigger) if waits else folder_of(installation.config)
    name = line_id(line)
    path = folder / f"{trigger.name}-{name[:16]}.json"
    make_private(path.parent)
    write_atomically(path, line)
    summary: JsonObject = {"line": name, "why": _why(error), "waits": waits}
    run, now = _run_of(trigger, line), installation.clock()
    installation.ledger.runs.note(run, KIND, trigger.name, _FAILED, summary, trigger.actor, now)
    return path


def waiting(config: Config, trigger: Trigger) -> Iterator[tuple[Path, bytes]]:
    """Give the alerts of a trigger that wait, each with its file; the longest untried first."""
    files = _waiting_in(config, trigger).glob("*.json")
    for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        yield path, path.read_bytes()


def delete_dead_letter(
    installation: Installation, trigger: Trigger, path: Path, line: bytes, came_to: str
) -> None:
    """Note what an alert that had waited came to after all, and let go of its file."""
    summary = {"line": line_id(line), "came_to": came_to}
    run, now = _run_of(trigger, line), installation.clock()
    installation.ledger.runs.finish(run, KIND, _DONE, summary, trigger.actor, now)
    path.unlink(missing_ok=True)


def folder_of(config: Config) -> Path:
    """Give the folder in which they lie."""
    return config.backup.send_log.parent / "set-aside"


def recent(ledger: Ledger, trigger: str, now: datetime) -> list[RunRecord]:
    """Give what was set aside of a trigger in the last days, newest first."""
    return [
        run
        for run in ledger.runs.all(KIND, trigger, states=[_FAILED])
        if now - run.started_at <= _SHOWN_FOR
    ]


def _waiting_in(config: Config, trigger: Trigger) -> Path:
    return folder_of(config) / "waiting" / trigger.name


def _run_of(trigger: Trigger, line: bytes) -> str:
    """Name the run of a line: the same each time, so that nobody needs to look for it."""
    return hashlib.sha256(f"{KIND} {trigger.name} {line_id(line)}".encode()).hexdigest()[:32]


def _why(error: Exception) -> str:
    if isinstance(error, PlaybookNotFound):
        return _LACKING  # `check` has its reasons anyway
    if isinstance(error, StandfastError):
        return str(error)
    return f"unexpected {type(error).__name__}"
