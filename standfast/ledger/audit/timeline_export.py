"""Choice of the audit events that an export of an incident contains.

The format is described in docs/evidence.md.

Rules
- An audit event contains the hash of the event before it. A head is the signed number and hash of
  an event. The export begins with the first event about the incident (the subject), and ends with
  the first head that covers the last event about it. It includes the events about other subjects in
  between: without these events, the hashes would not prove that no event about the subject is
  missing.
- Before the export, the seal (MAC) of each event is verified; the seal is not exported.
- A signed statement names the first and the last event, so that a shortened export does not match
  the statement. It is signed with the key that signs the heads.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from sqlalchemy import desc, func, select

from standfast.errors import Damaged
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.hash_chain import Chain
from standfast.ledger.schema.tables import as_stored, audit_event, audit_head
from standfast.records import Json, JsonObject, canonical, timestamp

FORMAT = "standfast-timeline/1"
_CONTEXT = b"standfast timeline v1\n"


def exported(
    database: AuditedDatabase, subject: str, now: datetime, statement: JsonObject
) -> Iterator[Mapping[str, JsonObject]]:
    """Yield {kind: content} of the statement, of each event and of the head.

    Events of the subject that no head covers yet are left out. The export is empty for a subject
    without events. Raises Damaged at the first event that does not contain the hash of the event
    before it.
    """
    chain = Chain(database.cipher, Path())  # this code does not read the witness
    sequence, of_subject = audit_event.c.sequence, audit_event.c.subject == subject
    newest_head = select(func.max(audit_head.c.sequence)).scalar_subquery()
    own = select(sequence).where(of_subject, sequence <= newest_head)
    with database.reading() as connection:
        first = connection.scalar(own.order_by(sequence).limit(1))
        last = connection.scalar(own.order_by(desc(sequence)).limit(1))
        if first is None or last is None:
            return
        heads = select(*as_stored(audit_head)).order_by(audit_head.c.sequence)
        found = connection.execute(heads.where(audit_head.c.sequence >= last).limit(1)).one()
        head: dict[str, Json] = found._asdict()
        events = select(*as_stored(audit_event)).where(sequence.between(first, found.sequence))
        at, previous = first - 1, ""
        for row in connection.execute(events.order_by(sequence)):
            event = row._asdict()
            if not previous:
                previous = str(event["previous"])
                begins: JsonObject = {"first": first, "previous": previous}
                ends: JsonObject = {"last": head["sequence"], "hash": head["hash"]}
                yield {"timeline": _statement(database, {**statement, **begins, **ends}, now)}
            at, previous = chain.verified_end((at, previous), [event])
            yield {"event": {name: event[name] for name in event if name != "seal"}}
        if problem := chain.problem_of_head(head, {at: previous}):
            raise Damaged(f"head {found.sequence} of the ledger: {problem}")
        yield {"head": head}


def _statement(database: AuditedDatabase, body: JsonObject, now: datetime) -> JsonObject:
    signed: JsonObject = {"format": FORMAT, "exported_at": timestamp(now), **body}
    key = database.cipher.signing_key()
    return {
        **signed,
        "key": key.public_key().public_bytes_raw().hex(),
        "signature": key.sign(_CONTEXT + canonical(signed)).hex(),
    }
