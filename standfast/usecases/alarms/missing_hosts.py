"""Alarm: a machine of `serve.hosts` runs no `standfast serve`.

Rules
- A role is a part of `standfast serve`, such as `watch`. Each `serve` renews a lease in the ledger
  (the database of incidents and runs). A role of a machine is missing if the lease of its last
  `serve` ended more than `LIMIT` ago. The lease of a dead `serve` lasts for up to five minutes.
  People are therefore notified within 20 minutes after a machine dies.
- A machine that never had a lease is treated as missing since the start of the ledger, so that
  people notice a machine that was never set up.
- Each machine with the role `watch`, `worker` or `all` checks all machines. Only one of these
  machines notifies people.
- If another role of a missing machine stops later, people are notified again.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from standfast.records import serve_way
from standfast.usecases.alarms.notification import Alarm
from standfast.usecases.core.installation import Installation

HOST = "host"  # the kind of these alarms
LIMIT = timedelta(minutes=10)
_MINUTE = timedelta(minutes=1)

# The end of the last lease of a process, by machine and role (as `serve_way` spells it).
Seen = Mapping[tuple[str, str], datetime]


def missing_host_alarms(installation: Installation) -> Iterator[Alarm]:
    """Yield the alarm of each machine of `serve.hosts`."""
    expected = installation.config.serve.hosts
    if not expected:
        return
    now = installation.clock()
    seen = installation.ledger.runners.last_seen(now)
    began_at = installation.ledger.audit.began_at() or now
    for machine, roles in expected.items():
        yield _alarm(machine, roles, seen, began_at, now)


def _alarm(
    machine: str, roles: Sequence[str], seen: Seen, began_at: datetime, now: datetime
) -> Alarm:
    times = {role: seen.get((machine, serve_way(role))) for role in roles}
    missing = {role: at for role, at in times.items() if now - (at or began_at) > LIMIT}
    known = [at for at in missing.values() if at is not None]
    named = ", ".join(sorted(missing))
    return Alarm(
        subject=f"{HOST}.{machine}",
        shown=machine,
        is_raised=bool(missing),
        template="host-missing",
        values={
            "roles": named,
            "was_seen": bool(known),
            "minutes": (now - min(known)) // _MINUTE if known else 0,
        },
        about=named,
    )
