"""Dead letters: alerts that could not be processed, and their retries.

A trigger opens incidents from alerts of another program, such as Suricata. An alert must not block
later alerts, even if it causes a program error, or if its playbook (the file that describes the
response) is invalid.

Rules
- An alert is one line of text. The line is stored unchanged in a private file next to the upload
  cache of backups. Then the ledger (the database of incidents and runs) records the alert as a run
  (a record with a state and a result) of kind `alert` with the id of the line. If these two acts
  are repeated, nothing changes.
- For an unexpected error, only its class is shown, because its text may contain the line.
- Some errors can be corrected by a person: an invalid playbook, or an incident that cannot be
  opened. After such an error, the alert waits in a folder of its trigger. After the correction, the
  alert opens its incident, its run is recorded as done, and its file is deleted.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from standfast.config import Config
from standfast.errors import StandfastError
from standfast.evidence.private_files import make_private, write_atomically
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
_SHOWN_FOR = timedelta(days=7)  # an alert with a program error is never retried: show it for a week


def store_dead_letter(
    installation: Installation, trigger: Trigger, line: bytes, error: Exception
) -> Path:
    """Store an alert that could not be processed; return its file."""
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
    """Yield the file and the line of each waiting alert, oldest attempt first."""
    files = _waiting_in(config, trigger).glob("*.json")
    for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        yield path, path.read_bytes()


def delete_dead_letter(
    installation: Installation, trigger: Trigger, path: Path, line: bytes, result: str
) -> None:
    """Record the result of a waiting alert, then delete its file."""
    summary = {"line": line_id(line), "result": result}
    run, now = _run_of(trigger, line), installation.clock()
    installation.ledger.runs.finish(run, KIND, _DONE, summary, trigger.actor, now)
    path.unlink(missing_ok=True)


def folder_of(config: Config) -> Path:
    """Return the folder of the dead letters."""
    return config.backup.send_log.parent / "set-aside"


def recent(ledger: Ledger, trigger: str, now: datetime) -> list[RunRecord]:
    """Return a trigger's dead letters of the last week, newest first."""
    return [
        run
        for run in ledger.runs.all(KIND, trigger, states=[_FAILED])
        if now - run.started_at <= _SHOWN_FOR
    ]


def _waiting_in(config: Config, trigger: Trigger) -> Path:
    return folder_of(config) / "waiting" / trigger.name


def _run_of(trigger: Trigger, line: bytes) -> str:
    """Return the run id of a line; a repeated line has the same id."""
    return hashlib.sha256(f"{KIND} {trigger.name} {line_id(line)}".encode()).hexdigest()[:32]


def _why(error: Exception) -> str:
    if isinstance(error, PlaybookNotFound):
        return _LACKING  # `standfast check` reports the reasons
    if isinstance(error, StandfastError):
        return str(error)
    return f"unexpected {type(error).__name__}"
