"""Stored runs of backups and drills; leases of runners, dead runners.

Rules
- A run (such as a backup, or a drill: a measured test restore) is recorded as running before it
  changes anything, and its end is recorded afterwards. If its process died, the run stays `running`
  until the next command that looks for dead runs.
- A runner is a process that executes the steps of incidents. It is dead if it did not extend its
  lease in time, or if it ran on this host and its process has ended.
  `UnknownOutcomes.expire_calls` finds the open calls of dead runners.
"""

import json
import os
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, desc, func, or_, select

from standfast.errors import StandfastError, Unavailable
from standfast.host_name import host_name
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.runs.run_record import NOWHERE, Origin, RunRecord, is_gone, running_summary
from standfast.ledger.schema.row_ids import new_token
from standfast.ledger.schema.tables import audit_event, incident, run, runner
from standfast.records import JsonObject, Mode, canonical

# A dead runner of another host is found when its lease is over and `standfast serve` (the daemon)
# checks the leases, which happens every ten seconds. This takes at most 15 + 10 seconds; 30 are
# promised.
LEASE = timedelta(seconds=15)
# The lease of `standfast serve` while it executes no incident. It may be long, because no incident
# waits for its end: a command that opens an incident waits a second for `serve` and then executes
# the incident itself (decision 0017).
SERVE_LEASE = timedelta(minutes=5)
_IS_SERVE = runner.c.incident.is_(None) & (runner.c.way == "serve")  # a `serve` with all roles


class Runs:
    """All runs."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def start(
        self,
        kind: str,
        subject: str,
        way: str,
        actor: str,
        now: datetime,
        *,
        origin: Origin = NOWHERE,
    ) -> str:
        """Record the start of a run and its origin; return its id."""
        token = new_token()
        with self._database.write(
            actor=actor, subject=token, action=f"{kind}.started", now=now
        ) as write:
            write.insert(
                run,
                {"id": token, "kind": kind, "subject": subject, "way": way, "state": "running"}
                | {"started_at": now, "ended_at": None, "summary": running_summary(origin)},
            )
            write.add_detail(set=subject, way=way)
        return token

    def finish(
        self, token: str, kind: str, state: str, summary: JsonObject, actor: str, now: datetime
    ) -> None:
        """Record the end of a run (done, partial or failed) with its counts."""
        with self._database.write(
            actor=actor, subject=token, action=f"{kind}.{state}", now=now
        ) as write:
            write.update(
                run, (token,), state=state, ended_at=now, summary=canonical(summary).decode()
            )
            write.add_detail(**summary)

    def note(
        self,
        token: str,
        kind: str,
        subject: str,
        state: str,
        summary: JsonObject,
        actor: str,
        now: datetime,
    ) -> None:
        """Record a finished run under an id that the caller chose; idempotent.

        A second call with the same values changes nothing; a second call with another state or
        summary replaces the stored values.
        """
        written = canonical(summary).decode()
        with self._database.write(
            actor=actor, subject=token, action=f"{kind}.{state}", now=now
        ) as write:
            values = {"state": state, "ended_at": now, "summary": written}
            row = {"id": token, "kind": kind, "subject": subject, "way": "serve"}
            other = or_(run.c.state != state, run.c.summary != written)
            if write.insert_new(run, {**row, "started_at": now, **values}) or write.update(
                run, (token,), other, **values
            ):
                write.add_detail(set=subject, **summary)

    def all(
        self,
        kind: str,
        subject: str | None = None,
        *,
        states: Collection[str] = (),
        most: int | None = None,
    ) -> list[RunRecord]:
        """Return the runs of a kind, newest first."""
        statement = select(run).where(run.c.kind == kind).order_by(desc(run.c.started_at))
        if subject is not None:
            statement = statement.where(run.c.subject == subject)
        if states:
            statement = statement.where(run.c.state.in_(states))
        statement = statement.limit(most)
        with self._database.reading() as connection:
            return [_record_of_row(row) for row in connection.execute(statement)]

    def ended_after(self, sequence: int, kinds: Collection[str]) -> list[RunRecord]:
        """Return the runs that ended after an audit event, in order of their end."""
        is_end = (audit_event.c.subject == run.c.id) & (
            audit_event.c.action == run.c.kind + "." + run.c.state
        )
        statement = (
            select(run)
            .join(audit_event, is_end)
            .where(audit_event.c.sequence > sequence, run.c.kind.in_(kinds))
            .where(run.c.ended_at.is_not(None))
            .order_by(audit_event.c.sequence)
        )
        with self._database.reading() as connection:
            return [_record_of_row(row) for row in connection.execute(statement)]


class Runners:
    """The runners that execute incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def register(self, incident_id: str | None, way: str, now: datetime) -> str:
        """Record this process as a runner; `way` is serve, prefect or direct.

        If the database does not answer, the row may exist nevertheless. It is then retired at once
        if possible, because a runner that never ran must not block other runners.
        """
        token = new_token()
        try:
            self._register(token, incident_id, way, now)
        except Unavailable:
            with suppress(StandfastError):
                self.retire(token, incident_id, now)
            raise
        return token

    def _register(self, token: str, incident_id: str | None, way: str, now: datetime) -> None:
        with self._database.write(
            actor=f"runner:{token}",
            subject=incident_id or "serve",
            action="runner.started",
            now=now,
            detail={"way": way},
        ) as write:
            write.insert(
                runner,
                {"id": token, "incident": incident_id, "way": way, "host": host_name()}
                | {"pid": os.getpid(), "started_at": now, "alive_until": now + _lease(incident_id)}
                | {"ended_at": None},
            )

    def extend_lease(self, token: str, incident_id: str | None, now: datetime) -> None:
        """Extend the lease of a runner; call it well within the lease."""
        with self._database.write(
            actor=f"runner:{token}", subject=incident_id or "serve", action="runner.alive", now=now
        ) as write:
            write.update(runner, (token,), alive_until=now + _lease(incident_id))

    def retire(self, token: str, incident_id: str | None, now: datetime) -> None:
        """Record the end of a runner; retry once after a lost connection."""
        try:
            self._retire(token, incident_id, now)
        except Unavailable:
            self._retire(token, incident_id, now)

    def _retire(self, token: str, incident_id: str | None, now: datetime) -> None:
        with self._database.write(
            actor=f"runner:{token}", subject=incident_id or "serve", action="runner.ended", now=now
        ) as write:
            write.update(runner, (token,), runner.c.ended_at.is_(None), ended_at=now)

    def is_dead(self, token: str, now: datetime) -> bool:
        """Return whether a runner is dead or unknown."""
        with self._database.reading() as connection:
            row = connection.execute(select(runner).where(runner.c.id == token)).first()
        return row is None or not _is_alive(row, now)

    def count_live(self, now: datetime) -> int:
        """Return the number of running runners of incidents in live mode."""
        is_live = incident.c.mode == Mode.LIVE.value
        query = select(runner).join(incident, runner.c.incident == incident.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(is_live, runner.c.ended_at.is_(None))).all()
        return sum(_is_alive(row, now) for row in rows)

    def serve_hosts(self, now: datetime) -> set[str]:
        """Return the hosts on which `standfast serve` runs with all roles."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(runner).where(_IS_SERVE, runner.c.ended_at.is_(None))
            ).all()
        return {row.host for row in rows if _is_alive(row, now)}

    def last_seen(self, now: datetime) -> dict[tuple[str, str], datetime]:
        """Return the last sign of life of each `serve`, by host and way."""
        last = func.max(func.coalesce(runner.c.ended_at, runner.c.alive_until))
        query = (
            select(runner.c.host, runner.c.way, last)
            .where(runner.c.incident.is_(None))
            .group_by(runner.c.host, runner.c.way)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {(host, way): min(until, now) for host, way, until in rows}

    def live(self, incident_id: str | None, now: datetime) -> list[str]:
        """Return the live runners of an incident, or those of `serve` for None."""
        same = runner.c.incident == incident_id if incident_id else _IS_SERVE
        with self._database.reading() as connection:
            rows = connection.execute(select(runner).where(same, runner.c.ended_at.is_(None))).all()
        return [row.id for row in rows if _is_alive(row, now)]


def _lease(incident_id: str | None) -> timedelta:
    return LEASE if incident_id else SERVE_LEASE


def _is_alive(row: Row[Any], now: datetime) -> bool:
    if row.ended_at is not None or row.alive_until < now:
        return False
    return not is_gone(row.host, row.pid)


def _record_of_row(row: Row[Any]) -> RunRecord:
    return RunRecord(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        way=row.way,
        state=row.state,
        started_at=row.started_at,
        ended_at=row.ended_at,
        summary=json.loads(row.summary),
    )
