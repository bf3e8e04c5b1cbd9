"""Log lines of `serve` about runs of this host that have ended.

A run is a backup, verification, drill (test restore) or retention run. The process of a nightly run
writes only to the log of Prefect. These lines report its result in the log of `serve`, which people
read.
"""

import logging

from standfast.ledger.runs.run_record import RunRecord
from standfast.plurals import counted
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_host

_SHOWN = {
    "backup": "the backup of",
    "verify": "the verification of the",
    "drill": "the drill of",
    "keep": "the keeper's run on the",
}

log = logging.getLogger("standfast.serve")


def log_ended_runs(installation: Installation, after: int) -> None:
    """Log the runs that ended after the audit event with the number `after`.

    Audit events are the numbered entries of the ledger, the database of the installation.
    """
    for run in runs_of_host(
        installation.config, installation.ledger.runs.ended_after(after, _SHOWN)
    ):
        log.log(logging.INFO if run.state == "done" else logging.WARNING, "%s", _line(run))
        if problem := run.summary.get("heartbeat_problem"):
            log.warning("%s: its heartbeat did not arrive: %s", _title(run), problem)


def _line(run: RunRecord) -> str:
    title = _title(run)
    if run.state == "failed":
        return f"{title} failed: {run.summary.get('problem', '`standfast status` shows more')}"
    unread = run.summary.get("unread")
    return f"{title} is {run.state}" + (f": {counted(unread, 'path')} not read" if unread else "")


def _title(run: RunRecord) -> str:
    return f"{_SHOWN[run.kind]} {run.subject}"
