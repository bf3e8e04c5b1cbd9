"""Runs of backups, drills and verifications, and the runners that work on incidents.

Rules
- A run is written as running before it touches anything, and ended after; one whose process died
  stays `running` until the next look says so.
- A runner that is silent for longer than its lease is dead, and so is one of this host whose
  process is gone; what it left behind is then found by `Attempts.lapse`.
"""

import json
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, desc, select

from standfast.ledger.core import Core, new_token
from standfast.ledger.tables import run, runner
from standfast.records import JsonObject, canonical

LEASE = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run of a backup, a drill or a verification."""

    id: str
    kind: str
    subject: str
    way: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    summary: dict[str, Any]


class Runs:
    """Every run there was."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def start(self, kind: str, subject: str, way: str, actor: str, now: datetime) -> str:
        """Note that a run begins; give its id."""
        token = new_token()
        with self._core.write(
            actor=actor, subject=token, action=f"{kind}.started", now=now
        ) as write:
            write.insert(
                run,
                {"id": token, "kind": kind, "subject": subject, "way": way, "state": "running"}
                | {"started_at": now, "ended_at": None, "summary": "{}"},
            )
            write.tell(set=subject, way=way)
        return token

    def finish(
        self, token: str, kind: str, state: str, summary: JsonObject, actor: str, now: datetime
    ) -> None:
        """Note how a run ended: done, partial or failed, with its counts and measures."""
        with self._core.write(
            actor=actor, subject=token, action=f"{kind}.{state}", now=now
        ) as write:
            write.update(
                run, (token,), state=state, ended_at=now, summary=canonical(summary).decode()
            )
            write.tell(**summary)

    def all(self, kind: str, subject: str | None = None) -> list[RunRow]:
        """Give the runs of a kind, newest first."""
        statement = select(run).where(run.c.kind == kind).order_by(desc(run.c.started_at))
        if subject is not None:
            statement = statement.where(run.c.subject == subject)
        with self._core.reading() as connection:
            return [_open(row) for row in connection.execute(statement)]


class Runners:
    """Who works on incidents now."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def register(self, incident_id: str | None, way: str, now: datetime) -> str:
        """Note a new runner of this process; `way` is serve, prefect or direct."""
        token = new_token()
        with self._core.write(
            actor=f"runner:{token}",
            subject=incident_id or "serve",
            action="runner.started",
            now=now,
            detail={"way": way},
        ) as write:
            write.insert(
                runner,
                {"id": token, "incident": incident_id, "way": way, "host": socket.gethostname()}
                | {"pid": os.getpid(), "started_at": now, "alive_until": now + LEASE}
                | {"ended_at": None},
            )
        return token

    def beat(self, token: str, incident_id: str | None, now: datetime) -> None:
        """Say that a runner is alive; to be called well within the lease."""
        with self._core.write(
            actor=f"runner:{token}", subject=incident_id or "serve", action="runner.alive", now=now
        ) as write:
            write.update(runner, (token,), alive_until=now + LEASE)

    def retire(self, token: str, incident_id: str | None, now: datetime) -> None:
        """Note that a runner ended by itself."""
        with self._core.write(
            actor=f"runner:{token}", subject=incident_id or "serve", action="runner.ended", now=now
        ) as write:
            write.update(runner, (token,), ended_at=now)

    def is_dead(self, token: str, now: datetime) -> bool:
        """Is this runner gone? An unknown one is."""
        with self._core.reading() as connection:
            row = connection.execute(select(runner).where(runner.c.id == token)).first()
        return row is None or not _is_alive(row, now)

    def alive(self, incident_id: str | None, now: datetime) -> list[str]:
        """Give the live runners of an incident; of None, the `serve` processes."""
        same = runner.c.incident == incident_id if incident_id else runner.c.incident.is_(None)
        with self._core.reading() as connection:
            rows = connection.execute(select(runner).where(same, runner.c.ended_at.is_(None))).all()
        return [row.id for row in rows if _is_alive(row, now)]


def _is_alive(row: Row[Any], now: datetime) -> bool:
    if row.ended_at is not None or row.alive_until < now:
        return False
    if row.host != socket.gethostname():
        return True
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it runs, as another user
    return True


def _open(row: Row[Any]) -> RunRow:
    return RunRow(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        way=row.way,
        state=row.state,
        started_at=row.started_at,
        ended_at=row.ended_at,
        summary=json.loads(row.summary),
    )
