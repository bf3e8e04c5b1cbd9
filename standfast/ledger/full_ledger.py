"""Whole ledger with all its stores: creation, upgrade, opening.

The ledger is the database of one installation (one configured Standfast). A store has the methods
for one subject, such as incidents. The ledger has a chain of audit events, one for each change. The
witness is a file with copies of signatures over this chain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from standfast.ledger.approvals.passkeys import Passkeys
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.auditor import AuditEvent, Auditor, newest_sequence, timeline
from standfast.ledger.audit.hash_chain import Chain
from standfast.ledger.audit.row_verification import RowVerifier
from standfast.ledger.database.connections import open_engine
from standfast.ledger.effects.attempts import Attempts
from standfast.ledger.effects.effect_store import Effects
from standfast.ledger.effects.prior_states import PriorStates
from standfast.ledger.effects.unknown_outcomes import UnknownOutcomes
from standfast.ledger.incidents.affected_people import AffectedPeople
from standfast.ledger.incidents.incident_facts import IncidentFacts
from standfast.ledger.incidents.incident_notes import IncidentNotes
from standfast.ledger.incidents.incident_store import Incidents
from standfast.ledger.incidents.step_decisions import StepDecisions
from standfast.ledger.incidents.step_transitions import Steps
from standfast.ledger.incidents.trigger_messages import Triggers
from standfast.ledger.messages.delivery_reports import Deliveries
from standfast.ledger.messages.notice_control import Notices
from standfast.ledger.people.enrolment import People
from standfast.ledger.people.staff_list import Staff
from standfast.ledger.runs.call_outs import CallOuts
from standfast.ledger.runs.run_store import Runners, Runs
from standfast.ledger.runs.server_clock import ServerClock
from standfast.ledger.schema.column_encryption import INSTALLATION, ColumnCipher
from standfast.ledger.schema.row_ids import new_token
from standfast.ledger.schema.schema_version import (
    HEAD,
    create_schema,
    has_schema,
    is_current,
    refuse_other_schema,
    upgrade_schema,
)
from standfast.ledger.schema.tables import installation


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The ledger of one installation, with one store for each subject."""

    database: AuditedDatabase
    incidents: Incidents
    facts: IncidentFacts
    notes: IncidentNotes
    affected: AffectedPeople
    steps: Steps
    decisions: StepDecisions
    effects: Effects
    attempts: Attempts
    prior_states: PriorStates
    unknown_outcomes: UnknownOutcomes
    deliveries: Deliveries
    notices: Notices
    people: People
    passkeys: Passkeys
    staff: Staff
    triggers: Triggers
    runs: Runs
    call_outs: CallOuts
    runners: Runners
    audit: Auditor

    @property
    def engine(self) -> Engine:
        return self.database.engine

    @property
    def cipher(self) -> ColumnCipher:
        return self.database.cipher

    def timeline(
        self, subject: str | None = None, *, or_by: str | None = None, action: str | None = None
    ) -> list[AuditEvent]:
        """Return the events of one subject, or all, in order.

        A call with `or_by` or `action` is slow, because it reads every event.
        """
        with self.database.reading() as connection:
            return list(timeline(connection, subject, or_by=or_by, action=action))

    def newest_event(self) -> int:
        """Return the number of the newest event, 0 before the first."""
        with self.database.reading() as connection:
            return newest_sequence(connection)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def create(url: str, keys: Path, witness: Path, now: datetime) -> None:
    """Create the keys and tables of a ledger; idempotent."""
    cipher = ColumnCipher(keys)
    cipher.create(INSTALLATION)
    engine = open_engine(url, makes_file=True)
    try:
        create_schema(engine)
        database = AuditedDatabase(
            engine=engine, cipher=cipher, rows=RowVerifier(Chain(cipher, witness))
        )
        with database.write(
            actor="init", subject="installation", action="ledger.created", now=now
        ) as write:
            if write.connection.execute(installation.select()).first() is None:
                write.insert(installation, {"id": new_token(), "initialised_at": now})
        Auditor(database, witness).sign_head(now)
    finally:
        engine.dispose()


def upgrade(url: str, keys: Path, witness: Path, now: datetime) -> bool:
    """Upgrade the tables of an earlier release; return whether it was needed.

    The upgrade is one transaction with an event in the audit chain.
    """
    engine = open_engine(url)
    try:
        if is_current(engine):
            return False
        cipher = ColumnCipher(keys)
        database = AuditedDatabase(
            engine=engine, cipher=cipher, rows=RowVerifier(Chain(cipher, witness))
        )
        with database.write(
            actor="init", subject="installation", action="ledger.upgraded", now=now
        ) as write:
            write.exclude_writers()
            earlier = upgrade_schema(write.connection)
            if earlier is not None:
                write.add_detail(from_schema=earlier, to_schema=HEAD)
        if earlier is not None:
            Auditor(database, witness).sign_head(now)
        return earlier is not None
    finally:
        engine.dispose()


def ledger_exists(url: str) -> bool:
    """Return whether a ledger of any schema exists; create nothing."""
    engine = open_engine(url)
    try:
        return has_schema(engine)
    finally:
        engine.dispose()


@contextmanager
def open_ledger(
    url: str, keys: Path, witness: Path, clock: ServerClock | None = None
) -> Iterator[Ledger]:
    """Open a ledger; ConfigurationError unless it has the present schema.

    If the ledger is on PostgreSQL, `clock` then returns the time of the server.
    """
    engine = open_engine(url)
    if clock is not None and engine.dialect.name == "postgresql":
        clock.listen(engine)
    try:
        refuse_other_schema(engine)
        cipher = ColumnCipher(keys)
        database = AuditedDatabase(
            engine=engine, cipher=cipher, rows=RowVerifier(Chain(cipher, witness))
        )
        effects, prior_states = Effects(database), PriorStates(database)
        yield Ledger(
            database=database,
            incidents=Incidents(database),
            facts=IncidentFacts(database),
            notes=IncidentNotes(database),
            affected=AffectedPeople(database),
            steps=Steps(database),
            decisions=StepDecisions(database),
            effects=effects,
            attempts=Attempts(database, effects, prior_states),
            prior_states=prior_states,
            unknown_outcomes=UnknownOutcomes(database),
            deliveries=Deliveries(database),
            notices=Notices(database),
            people=People(database),
            passkeys=Passkeys(database),
            staff=Staff(database),
            triggers=Triggers(database),
            runs=Runs(database),
            call_outs=CallOuts(database),
            runners=Runners(database),
            audit=Auditor(database, witness),
        )
    finally:
        engine.dispose()
