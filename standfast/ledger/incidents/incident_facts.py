"""Stored facts for the legal clocks: repeats ignored, texts encrypted.

A fact is a dated statement, such as the time of awareness. It may start a legal clock, the running
time limit of a duty to notify.

Rules
- Facts are only added: a new statement is a later fact, and the earlier fact stays.
- A statement that equals the last fact of its kind and name changes nothing. So a call that may
  have succeeded can be repeated.
- The reference of a fact (a document or a reason) is encrypted, because it may name people.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, func, select

from standfast.deadlines.incident_facts import Fact, FactKind, Facts
from standfast.errors import Refused
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import incident, incident_fact


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A fact without its author and time; see `deadlines.incident_facts.Fact`."""

    kind: FactKind
    name: str
    at: datetime | None = None
    count: int | None = None
    is_so: bool | None = None
    reference: str = ""

    def to_fact(self, author: str, now: datetime) -> Fact:
        """Return the fact; ValueError if a field that its kind needs is missing."""
        return Fact(
            kind=self.kind,
            name=self.name,
            at=self.at,
            count=self.count,
            is_so=self.is_so,
            reference=self.reference,
            author=author,
            recorded_at=now,
        )


class IncidentFacts:
    """The facts of every incident."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def of_incident(self, incident_id: str) -> Facts:
        """Return the facts of an incident, in the order of their statement."""
        with self._database.reading() as connection:
            return Facts(self._read(connection, incident_id))

    def incidents_with_facts(self) -> set[str]:
        """Return the incidents with facts; only these have legal clocks."""
        with self._database.reading() as connection:
            return set(connection.scalars(select(incident_fact.c.incident).distinct()))

    def state(self, incident_id: str, statement: Statement, author: str, now: datetime) -> bool:
        """Add a fact; return whether it is new. Refused for an unknown incident."""
        fact = statement.to_fact(author, now)
        with self._database.write(
            actor=author, subject=incident_id, action="fact.stated", now=now
        ) as write:
            write.exclude_writers()
            known = write.connection.scalar(
                select(incident.c.id).where(incident.c.id == incident_id)
            )
            if known is None:
                raise Refused(
                    f"incident {incident_id}: unknown. `standfast status` shows all incidents."
                )
            facts = self._read(write.connection, incident_id)
            last = Facts(facts).latest(fact.kind, fact.name)
            if last is not None and _content_of(last) == _content_of(fact):
                return False
            number = 1 + int(
                write.connection.scalar(
                    select(func.count()).where(incident_fact.c.incident == incident_id)
                )
                or 0
            )
            write.insert(
                incident_fact,
                {
                    "incident": incident_id,
                    "number": number,
                    "kind": fact.kind.value,
                    "name": fact.name,
                    "at": fact.at,
                    "people": fact.count,
                    "is_so": fact.is_so,
                    "sealed": self._database.cipher.seal(
                        INSTALLATION, _context(incident_id, number), {"reference": fact.reference}
                    ),
                    "author": fact.author,
                    "recorded_at": fact.recorded_at,
                },
            )
            write.add_detail(kind=fact.kind.value, name=fact.name)
        return True

    def _read(self, connection: Connection, incident_id: str) -> list[Fact]:
        rows = connection.execute(
            select(incident_fact)
            .where(incident_fact.c.incident == incident_id)
            .order_by(incident_fact.c.number)
        )
        return [self._decrypt_row(row) for row in rows]

    def _decrypt_row(self, row: Row[Any]) -> Fact:
        sealed = self._database.cipher.open(
            INSTALLATION, _context(row.incident, row.number), row.sealed
        )
        return Fact(
            kind=FactKind(row.kind),
            name=row.name,
            at=row.at,
            count=row.people,
            is_so=row.is_so,
            reference=cast("str", sealed["reference"]),
            author=row.author,
            recorded_at=row.recorded_at,
        )


def _context(incident_id: str, number: int) -> str:
    return f"incident_fact {incident_id}/{number}"


def _content_of(fact: Fact) -> tuple[Any, ...]:
    return (fact.at, fact.count, fact.is_so, fact.reference)
