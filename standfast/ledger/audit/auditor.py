"""Auditor: verification of the whole ledger (database), signing of heads.

Rules
- Each event contains the hash of the event before it and the digests of the rows that its
  transaction changed. So the last event about a row proves the content of that row, and a
  verification finds a changed column, a deleted row and a row without an event.
- Each event has a seal, a MAC whose key is not in the database. With access to the database alone,
  an intruder can only restore an earlier state of the ledger. A verification finds this if a head
  (a signed number and hash of the newest event) was made after that state.
- Before a head is signed, the newest head and the events after it are verified, so that a signed
  head covers only verified events.
- Heads are also sent to the witness, a file that a forger of the database cannot change. The ledger
  commits a head before it is sent; the next signing sends the heads that a crash left unsent. So a
  ledger that lacks a head of its witness was rolled back, and no further head is signed. (In the
  other order, a crash would leave a witness that contradicts an intact ledger.)
- A verification reports all findings in order, not only the first, and changes nothing.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Table, desc, insert, select, text

from standfast.errors import OnlyReadable, Unavailable
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.hash_chain import GENESIS, HEAD_PARSE_ERRORS, Chain, line_of
from standfast.ledger.audit.row_verification import CHECKPOINT
from standfast.ledger.audit.transaction import row_digest
from standfast.ledger.database.connections import reading, reading_undecoded, writing
from standfast.ledger.schema.tables import CHAIN, as_stored, audit_event, audit_head, metadata
from standfast.records import JsonObject, moment

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_SENT_WITHIN = timedelta(minutes=15)  # each `serve` sends heads to the witness every five minutes
_IDLE_BEAT = ("serve", "runner.alive")  # subject and action of the events of an idle `serve`


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """One audit event, decoded for display."""

    sequence: int
    at: datetime
    actor: str
    subject: str
    action: str
    detail: dict[str, Any]
    hash: str


@dataclass(frozen=True, kw_only=True)
class AuditFinding:
    """One row or link that does not verify."""

    where: str  # "effect 4f…", "event 17", "witness line 3"
    problem: str


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The findings of a verification; none if the ledger is intact.

    A head that the witness lacks is counted and is not a finding: perhaps the witness was
    unreachable, or another host signed the head a few minutes ago and has not sent it yet.
    """

    events: int
    rows: int
    heads: int
    witnessed: int  # heads that the witness confirms
    missing_heads: int  # heads that the witness lacks although there was time to send them
    findings: tuple[AuditFinding, ...]

    @property
    def is_whole(self) -> bool:
        return not self.findings


def timeline(
    connection: Connection,
    subject: str | None = None,
    *,
    or_by: str | None = None,
    action: str | None = None,
) -> Iterator[AuditEvent]:
    """Return the events in order, of one subject or of all.

    `or_by` adds the events of that actor. With `action`, only events with that action are returned.
    """
    statement = select(audit_event).order_by(audit_event.c.sequence)
    if subject is not None:
        is_of = audit_event.c.subject == subject
        if or_by is not None:
            is_of |= audit_event.c.actor == or_by
        statement = statement.where(is_of)
    if action is not None:
        statement = statement.where(audit_event.c.action == action)
    return map(_event, connection.execute(statement))


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(
        sequence=row.sequence,
        at=row.at,
        actor=row.actor,
        subject=row.subject,
        action=row.action,
        detail=json.loads(row.detail),
        hash=row.hash,
    )


def newest_sequence(connection: Connection) -> int:
    """Return the sequence of the newest event, 0 before the first."""
    statement = select(audit_event.c.sequence).order_by(desc(audit_event.c.sequence)).limit(1)
    return int(connection.scalar(statement) or 0)


class Auditor:
    """The verification and the signatures of one ledger's chain."""

    def __init__(self, database: AuditedDatabase, witness: Path) -> None:
        self._database = database
        self._engine = database.engine
        self._chain = Chain(database.cipher, witness)

    def verify(
        self, progress: Callable[[int], None] | None = None, *, now: datetime | None = None
    ) -> AuditReport:
        """Check every link, head, witness line and row.

        Without `now`, every head that the witness lacks counts as `missing_heads`.
        """
        findings: list[AuditFinding] = []
        # Read the witness before the ledger: then the ledger must have each head of the witness.
        lines = self._chain.witness_lines()
        with reading_undecoded(self._engine) as connection:
            hashes, expected = self._verify_events(connection, findings, progress)
            heads = self._check_heads(connection, hashes, findings)
            signed_at = _times_of_heads(connection) if now is not None else {}
            sequences = {line: sequence for sequence, line in heads.items() if line}
            witnessed = self._check_witness(lines, hashes, heads, sequences, findings)
            rows = _check_rows(connection, expected, findings)
        # Read the witness again: it now has the heads that were signed after the first read.
        known = self._chain.witnessed_sequences(sequences)
        missing_heads = heads.keys() - known
        if now is not None and any(known):  # an empty witness lacks all heads: it was truncated
            missing_heads = {
                sequence
                for sequence in missing_heads
                if sequence < max(known) or signed_at[sequence] < now - _SENT_WITHIN
            }
        return AuditReport(
            events=len(hashes),
            rows=rows,
            heads=len(heads),
            witnessed=witnessed,
            missing_heads=len(missing_heads),
            findings=tuple(findings),
        )

    def began_at(self) -> datetime | None:
        """Return the time of the first event; None if there is no event."""
        first = select(audit_event.c.at).order_by(audit_event.c.sequence).limit(1)
        with reading(self._engine) as connection:
            return connection.scalar(first)

    def sealed_timeline(self, subject: str) -> tuple[list[AuditEvent], list[int]]:
        """Return a subject's authentic events, and the sequences of forged ones."""
        of_subject = audit_event.c.subject == subject
        stored = select(*as_stored(audit_event)).where(of_subject)
        with self._database.reading() as connection:
            forged = {
                row.sequence
                for row in connection.execute(stored)
                if self._chain.problem_of_event(row._asdict(), row.previous)
            }
            sealed = audit_event.c.sequence.not_in(forged)
            found = select(audit_event).where(of_subject, sealed).order_by(audit_event.c.sequence)
            return [*map(_event, connection.execute(found))], sorted(forged)

    def sign_head(self, now: datetime, *, beats_wait: timedelta = timedelta(0)) -> int:
        """Sign a head for the newest event; send unsent heads to the witness.

        Returns the number of the newest event that a head covers. No head is signed if the last
        head covers the newest event already. If all events after the last head come from an idle
        `serve`, no head is signed until the last head is `beats_wait` old (decision 0048). The
        events after the last head are verified first; Damaged if one of them does not verify.
        """
        self._add_checkpoint(now)
        with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                # Two concurrent signers would both insert the same head.
                connection.execute(text("LOCK TABLE audit_head IN SHARE ROW EXCLUSIVE MODE"))
            self._database.rows.refuse_rolled_back(connection)
            base = self._newest_head(connection)
            events = connection.execute(
                select(*as_stored(audit_event))
                .where(audit_event.c.sequence > base[0])
                .order_by(audit_event.c.sequence)
            ).all()
            end = self._chain.verified_end(base, (row._asdict() for row in events))
            is_idle = all((row.subject, row.action) == _IDLE_BEAT for row in events)
            if end != base and not (is_idle and _is_signed_within(connection, beats_wait, now)):
                head = {**self._chain.head(*end, now), "signed_at": now}
                connection.execute(insert(audit_head).values(head))
            else:
                end = base
        self._chain.send_to_witness(self._heads_after)
        return end[0]

    def _add_checkpoint(self, now: datetime) -> None:
        """Write a checkpoint (an event with row digests) if one is due."""
        rows = self._database.rows
        with self._database.reading() as connection:
            if not rows.is_checkpoint_due(connection):
                return
        subject, action = CHECKPOINT
        with self._database.write(actor="ledger", subject=subject, action=action, now=now) as write:
            write.exclude_writers()
            if rows.is_checkpoint_due(write.connection):
                write.add_detail(**rows.checkpoint(write.connection))

    def newest_signed(self, now: datetime) -> int:
        """Sign a head like `sign_head`; in a read-only ledger, read the newest.

        Returns the number of the event that the head covers. Damaged if the head is forged.
        """
        try:
            return self.sign_head(now)
        except (OnlyReadable, Unavailable):  # the ledger is read-only, such as a replica
            with reading(self._engine) as connection:
                return self._newest_head(connection)[0]

    def _newest_head(self, connection: Connection) -> tuple[int, str]:
        head = connection.execute(
            select(*as_stored(audit_head)).order_by(desc(audit_head.c.sequence)).limit(1)
        ).first()
        if head is None:
            return self._chain.verified_start(None, {})
        covered = connection.execute(
            select(audit_event.c.sequence, audit_event.c.hash).where(
                audit_event.c.sequence == head.sequence
            )
        )
        hashes = {row.sequence: row.hash for row in covered}
        return self._chain.verified_start(head._asdict(), hashes)

    def _heads_after(self, sequence: int) -> list[JsonObject]:
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(*as_stored(audit_head))
                .where(audit_head.c.sequence > sequence)
                .order_by(audit_head.c.sequence)
            ).all()
        return [row._asdict() for row in rows]

    def _verify_events(
        self,
        connection: Connection,
        findings: list[AuditFinding],
        progress: Callable[[int], None] | None,
    ) -> tuple[dict[int, str], dict[str, dict[tuple[Any, ...], str | None]]]:
        """Verify all events; return hashes by sequence, and digests by row."""
        hashes: dict[int, str] = {}
        expected: dict[str, dict[tuple[Any, ...], str | None]] = {}
        previous, sequence = GENESIS, 0
        for row in connection.execute(
            select(*as_stored(audit_event)).order_by(audit_event.c.sequence)
        ):
            sequence += 1
            where = f"event {row.sequence}"
            if row.sequence != sequence:
                findings.append(
                    AuditFinding(where=where, problem=f"event {sequence} is missing before it")
                )
                sequence = row.sequence
            problem = self._chain.problem_of_event(row._asdict(), previous)
            if problem:
                findings.append(AuditFinding(where=where, problem=problem))
            hashes[row.sequence] = previous = row.hash
            _add_digests(expected, row.changes, where, findings)
            if progress:
                progress(sequence)
        return hashes, expected

    def _check_heads(
        self, connection: Connection, hashes: dict[int, str], findings: list[AuditFinding]
    ) -> dict[int, bytes]:
        """Return the witness line of each head; empty for an invalid head."""
        heads: dict[int, bytes] = {}
        for row in connection.execute(
            select(*as_stored(audit_head)).order_by(audit_head.c.sequence)
        ):
            problem = self._chain.problem_of_head(row._asdict(), hashes)
            if problem:
                findings.append(AuditFinding(where=f"head {row.sequence}", problem=problem))
            heads[row.sequence] = b"" if problem else line_of(row._asdict())
        return heads

    def _check_witness(
        self,
        lines: list[bytes],
        hashes: dict[int, str],
        heads: dict[int, bytes],
        sequences: dict[bytes, int],
        findings: list[AuditFinding],
    ) -> int:
        """Return the number of the ledger's heads that the witness confirms."""
        agreed: set[int] = set()
        for number, line in enumerate(lines, 1):
            if line in sequences:
                agreed.add(sequences[line])  # the line equals a verified head of the ledger
                continue
            where = f"witness line {number}"
            try:
                head = json.loads(line)
                problem = self._chain.problem_of_head(head, hashes)
            except HEAD_PARSE_ERRORS:
                problem = "not a head"
            else:
                if not problem and head["sequence"] not in heads:
                    problem = f"head {head['sequence']} is missing: the ledger was rolled back"
            if problem:
                findings.append(AuditFinding(where=where, problem=problem))
            else:
                agreed.add(head["sequence"])
        return len(agreed)


def _times_of_heads(connection: Connection) -> dict[int, datetime]:
    """Return the signing time of each valid head."""
    found: dict[int, datetime] = {}
    for row in connection.execute(select(*as_stored(audit_head))):
        try:
            found[row.sequence] = moment(row.signed_at)
        except (ValueError, TypeError, AttributeError):
            found[row.sequence] = _LONG_AGO
    return found


def _is_signed_within(connection: Connection, time: timedelta, now: datetime) -> bool:
    newest = select(audit_head.c.signed_at).order_by(desc(audit_head.c.sequence)).limit(1)
    signed_at = connection.scalar(newest)
    return signed_at is not None and abs(now - signed_at) < time


def _add_digests(
    expected: dict[str, dict[tuple[Any, ...], str | None]],
    changes: str,
    where: str,
    findings: list[AuditFinding],
) -> None:
    """Add the digests of an event's changed rows to `expected`."""
    try:
        for table, rows in json.loads(changes).items():
            digests = expected.setdefault(table, {})
            for *key, row_hash in rows:
                digests[tuple(key)] = row_hash
    except (ValueError, AttributeError, TypeError, RecursionError):
        findings.append(AuditFinding(where=where, problem="its list of changes cannot be read"))


def _check_rows(
    connection: Connection,
    expected: dict[str, dict[tuple[Any, ...], str | None]],
    findings: list[AuditFinding],
) -> int:
    count = 0
    for table in metadata.sorted_tables:
        if table.name in CHAIN:
            continue
        missing = dict(expected.get(table.name, {}))
        for row in connection.execute(select(*as_stored(table))).mappings():
            count += 1
            key = tuple(row[column.name] for column in table.primary_key.columns)
            where = _name_of(table, key)
            known = missing.pop(key, None)
            if known is None:
                findings.append(AuditFinding(where=where, problem="no event has this row"))
            elif known != row_digest(table, tuple(row.values())):
                findings.append(
                    AuditFinding(where=where, problem="it was changed outside the ledger")
                )
        findings.extend(
            AuditFinding(where=_name_of(table, key), problem="it was deleted")
            for key, known in missing.items()
            if known is not None  # None: its last event deleted the row
        )
    return count


def _name_of(table: Table, key: tuple[Any, ...]) -> str:
    """Return a printable name of a row, without control characters."""
    parts = (part if str(part).isprintable() else ascii(part) for part in key)
    return f"{table.name} {'/'.join(str(part) for part in parts)}"
