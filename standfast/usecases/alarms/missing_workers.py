"""Alarm: a host of a site has no worker that reports to Prefect.

A site is a group of hosts that share one Prefect and one ledger (the database of incidents and
runs). A worker is the process on a host that runs the work that Prefect assigns to it.

Rules
- A host is missing if none of its workers has reported for `LIMIT`. This rule needs no list of
  machines, and also detects that a worker ended although its `standfast serve` is running.
- The times of the reports are stored only in Prefect, from which the caller reads them.
- Each host checks all hosts. The shared ledger ensures that only one host notifies people.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from standfast.usecases.alarms.notification import Alarm, end_removed, notify
from standfast.usecases.core.installation import Installation

WORKER = "worker"  # the kind of these alarms
LIMIT = timedelta(minutes=5)  # a restart of a busy machine takes less
_MINUTE = timedelta(minutes=1)


def notify_of_missing_workers(
    installation: Installation, seen: Mapping[str, datetime], way: str
) -> list[Alarm]:
    """Notify people of the missing hosts; return the alarms that were sent.

    `seen` has the time of each host's last report.
    """
    alarms = [_alarm(host, installation.clock() - at) for host, at in sorted(seen.items())]
    end_removed(installation, WORKER, {alarm.subject for alarm in alarms}, way)
    return [alarm for alarm in alarms if notify(installation, alarm, way)]


def _alarm(host: str, silence: timedelta) -> Alarm:
    return Alarm(
        subject=f"{WORKER}.{host}",
        shown=host,
        is_raised=silence > LIMIT,
        template="host-missing",
        values={"roles": WORKER, "was_seen": True, "minutes": silence // _MINUTE},
    )
