"""Alarms about hosts of a site without a worker that reports to Prefect.

Rules
- A host is missing if none of its workers has reported for `LIMIT`. This also covers a worker that
  ended inside a live `standfast serve`, and needs no list of machines.
- Prefect knows the workers, so its caller passes the times. Each host checks all hosts; one of them
  notifies.
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
    """Notify people of each host by its last report; return what was sent."""
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
