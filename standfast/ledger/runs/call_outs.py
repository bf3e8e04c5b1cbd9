"""Stored call-outs: pages, their results, and answers (also late ones).

In a call-out, one person on call after another is paged about one matter (its subject), until
somebody acknowledges.

Rules
- A call-out is a row of the table `run`. Each event about it is also in the timeline (the audit
  log) of its incident. Rows and events contain sign-in names and names of senders (the configured
  message channels), and no address.
- A page is recorded before it is sent, by a compare-and-swap on its number, so that only one of
  several processes sends it. The result of the page is recorded after it was sent.
- If a process died before it recorded the result, the outcome of the page stays unknown. The page
  is not sent again; the next page follows.
- A subject has at most one open call-out. An acknowledgement ends the call-out: no page follows.
- An unanswered call-out can still be acknowledged. The time at which it ended unanswered stays
  recorded.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, desc, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write
from standfast.ledger.schema.row_ids import new_token
from standfast.ledger.schema.tables import incident, run, step
from standfast.records import EffectState, Json, Mode, StepState, canonical, moment, timestamp

_KIND = "call-out"
_MOST_SHOWN = 200

AskedStep: TypeAlias = tuple[str, str, int]  # incident, step, round


class CallOutState(StrEnum):
    """The state of a call-out; only an open one pages."""

    OPEN = "running"  # the value that other runs have while they run
    ACKNOWLEDGED = "acknowledged"
    UNANSWERED = "unanswered"  # everybody was paged, as often as configured
    OVER = "over"  # its matter no longer needs a person


@dataclass(frozen=True, kw_only=True)
class SentPage:
    """One page of a call-out.

    A page in the state SUBMITTING or UNKNOWN may have arrived.
    """

    person: str
    sender: str
    round: int  # from 0
    state: EffectState
    at: datetime

    def as_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        return {
            "person": self.person,
            "sender": self.sender,
            "round": self.round,
            "state": self.state.value,
            "at": timestamp(self.at),
        }


@dataclass(frozen=True, kw_only=True)
class CallOut:
    """One call-out, about the incidents, alerts or steps in `covers`."""

    id: str
    subject: str
    incident: str  # the newest incident at the start of the call-out; its timeline has the events
    covers: tuple[str, ...]
    pages: tuple[SentPage, ...]  # in order
    state: CallOutState
    started_at: datetime
    ended_at: datetime | None
    acknowledged_by: str
    unanswered_at: datetime | None  # when it ended unanswered, even if acknowledged later

    def is_about(self, incident_id: str) -> bool:
        """Return whether the call-out covers an incident, or a part of it."""
        return incident_id in (self.incident, *map(incident_of, self.covers))

    def may_become(self, state: CallOutState) -> bool:
        """Return whether the call-out can get this final state."""
        if self.state is CallOutState.UNANSWERED:
            return state is CallOutState.ACKNOWLEDGED
        return self.state is CallOutState.OPEN

    def as_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        return {
            "subject": self.subject,
            "incident": self.incident,
            "state": "open" if self.state is CallOutState.OPEN else self.state.value,
            "started_at": timestamp(self.started_at),
            "ended_at": timestamp(self.ended_at) if self.ended_at else None,
            "acknowledged_by": self.acknowledged_by or None,
            "unanswered_at": timestamp(self.unanswered_at) if self.unanswered_at else None,
            "pages": [page.as_json() for page in self.pages],
        }


def incident_of(name: str) -> str:
    """Return the incident of an entry of `covers`: its first word."""
    return name.partition(" ")[0]


class CallOuts:
    """All call-outs."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def begin(
        self, subject: str, incident_id: str, covers: Sequence[str], actor: str, now: datetime
    ) -> bool:
        """Begin a call-out; False if the subject has an open one."""
        token = new_token()
        with self._write("began", incident_id, actor, now) as write:
            write.exclude_writers()
            if _rows(write.connection, subject=subject, states=[CallOutState.OPEN]):
                return False
            write.insert(
                run,
                {"id": token, "kind": _KIND, "subject": subject, "way": "serve"}
                | {"state": CallOutState.OPEN.value, "started_at": now, "ended_at": None}
                | {"summary": _summary(incident_id, covers, (), "", None)},
            )
            write.add_detail(subject=subject, covers=len(covers))
        return True

    def begin_page(
        self, call_out: CallOut, person: str, sender: str, round_: int, actor: str, now: datetime
    ) -> bool:
        """Record a page before it is sent; False if another process was first.

        Earlier pages without a result become unknown.
        """
        new = SentPage(
            person=person, sender=sender, round=round_, state=EffectState.SUBMITTING, at=now
        )
        with self._write("paging", call_out.incident, actor, now) as write:
            write.exclude_writers()
            current = _find(write.connection, call_out.id)
            if current.state is not CallOutState.OPEN or len(current.pages) != len(call_out.pages):
                return False
            pages = (*map(_without_result, current.pages), new)
            _store(write, current, pages=pages)
            write.add_detail(person=person, sender=sender, number=len(pages))
        return True

    def finish_page(
        self, call_out: str, number: int, state: EffectState, actor: str, now: datetime
    ) -> None:
        """Record the result of a page; `number` counts from 1."""
        with self._database.reading() as connection:
            incident_id = _find(connection, call_out).incident
        with self._write("paged", incident_id, actor, now) as write:
            write.exclude_writers()
            current = _find(write.connection, call_out)
            page = current.pages[number - 1]
            done = replace(page, state=state)
            pages = (*current.pages[: number - 1], done, *current.pages[number:])
            _store(write, current, pages=pages)
            write.add_detail(
                person=page.person, sender=page.sender, number=number, state=state.value
            )

    def end(
        self,
        call_out: CallOut,
        state: CallOutState,
        covers: Sequence[str],
        actor: str,
        now: datetime,
        *,
        named: str = "",
    ) -> bool:
        """End a call-out, with the final `covers`; False if it has ended.

        For ACKNOWLEDGED, `actor` is the person, and the call-out may have ended as unanswered. The
        event is also written to the timeline of the incident `named`.
        """
        with self._write(state.value, call_out.incident, actor, now) as write:
            write.exclude_writers()
            current = _find(write.connection, call_out.id)
            if not current.may_become(state):
                return False
            by = actor if state is CallOutState.ACKNOWLEDGED else ""
            unanswered_at = now if state is CallOutState.UNANSWERED else current.unanswered_at
            write.update(
                run,
                (current.id,),
                state=state.value,
                ended_at=now,
                summary=_summary(current.incident, covers, current.pages, by, unanswered_at),
            )
            is_late = state is CallOutState.ACKNOWLEDGED and unanswered_at is not None
            late: dict[str, Json] = {"is_late": True} if is_late else {}
            write.add_detail(
                subject=current.subject, covers=len(covers), pages=len(current.pages), **late
            )
            if named not in ("", current.incident):
                write.add_event(named, {"subject": current.subject, **late})
        return True

    def list_open(self) -> list[CallOut]:
        """Return the open call-outs, newest first."""
        with self._database.reading() as connection:
            return _rows(connection, states=[CallOutState.OPEN])

    def unanswered(self, incident_id: str) -> list[CallOut]:
        """Return the newest call-out of each subject, if it is unanswered.

        Only the newest 200 call-outs are considered, and of these the call-outs about the incident.
        """
        by_subject: dict[str, CallOut] = {}
        for call_out in self.of_incident(incident_id):
            by_subject.setdefault(call_out.subject, call_out)
        found = by_subject.values()
        return [call_out for call_out in found if call_out.state is CallOutState.UNANSWERED]

    def newest(self, subject: str) -> CallOut | None:
        """Return the newest call-out of a subject."""
        with self._database.reading() as connection:
            return next(iter(_rows(connection, subject=subject, most=1)), None)

    def of_incident(self, incident_id: str) -> list[CallOut]:
        """Return the recent call-outs about an incident, newest first."""
        return [call_out for call_out in self.recent() if call_out.is_about(incident_id)]

    def recent(self) -> list[CallOut]:
        """Return the newest 200 call-outs, newest first."""
        with self._database.reading() as connection:
            return _rows(connection, most=_MOST_SHOWN)

    def asked_steps(self) -> list[AskedStep]:
        """Return the steps that wait for a decision of paged approvers.

        The steps are those of open live incidents that are not stopped.
        """
        statement = (
            select(step.c.incident, step.c.name, step.c.round)
            .join(incident, incident.c.id == step.c.incident)
            .where(step.c.state == StepState.ASKING.value, step.c.is_asked)
            .where(incident.c.mode == Mode.LIVE.value, incident.c.state == "open")
            .where(~incident.c.is_halted)
            .order_by(step.c.started_at, step.c.incident, step.c.name)
        )
        with self._database.reading() as connection:
            return [(row.incident, row.name, row.round) for row in connection.execute(statement)]

    def _write(self, verb: str, incident_id: str, actor: str, now: datetime) -> Any:
        return self._database.write(
            actor=actor, subject=incident_id, action=f"{_KIND}.{verb}", now=now
        )


def _rows(
    connection: Connection,
    *,
    subject: str | None = None,
    states: Collection[CallOutState] = (),
    most: int | None = None,
) -> list[CallOut]:
    statement = select(run).where(run.c.kind == _KIND).order_by(desc(run.c.started_at)).limit(most)
    if subject is not None:
        statement = statement.where(run.c.subject == subject)
    if states:
        statement = statement.where(run.c.state.in_([state.value for state in states]))
    return [_call_out(row) for row in connection.execute(statement)]


def _find(connection: Connection, token: str) -> CallOut:
    return _call_out(connection.execute(select(run).where(run.c.id == token)).one())


def _call_out(row: Row[Any]) -> CallOut:
    summary = json.loads(row.summary)
    # Earlier releases did not record this time.
    unanswered_at = summary.get("unanswered_at")
    if row.state == CallOutState.UNANSWERED.value and unanswered_at is None:
        unanswered_at = timestamp(row.ended_at)
    return CallOut(
        id=row.id,
        subject=row.subject,
        incident=summary["incident"],
        covers=tuple(summary["covers"]),
        pages=tuple(
            SentPage(
                person=page["person"],
                sender=page["sender"],
                round=page["round"],
                state=EffectState(page["state"]),
                at=moment(page["at"]),
            )
            for page in summary["pages"]
        ),
        state=CallOutState(row.state),
        started_at=row.started_at,
        ended_at=row.ended_at,
        acknowledged_by=summary["acknowledged_by"],
        unanswered_at=moment(unanswered_at) if unanswered_at else None,
    )


def _summary(
    incident_id: str,
    covers: Sequence[str],
    pages: Sequence[SentPage],
    by: str,
    unanswered_at: datetime | None,
) -> str:
    return canonical(
        {
            "incident": incident_id,
            "covers": list(covers),
            "pages": [page.as_json() for page in pages],
            "acknowledged_by": by,
            "unanswered_at": timestamp(unanswered_at) if unanswered_at else None,
        }
    ).decode()


def _store(write: Write, call_out: CallOut, *, pages: Sequence[SentPage]) -> None:
    summary = _summary(
        call_out.incident,
        call_out.covers,
        pages,
        call_out.acknowledged_by,
        call_out.unanswered_at,
    )
    write.update(run, (call_out.id,), summary=summary)


def _without_result(page: SentPage) -> SentPage:
    if page.state is not EffectState.SUBMITTING:
        return page
    return replace(page, state=EffectState.UNKNOWN)
