"""Tables of the ledger (the database) and the meaning of their columns.

Rules
- Tables are declared with SQLAlchemy Core. Every write goes through `transaction.Write`, which
  needs explicit statements, and the ORM would add 0.2 s to every command (decision 0004).
- A column with personal data, the state or result of a change, or a provider's text has a name that
  begins with `sealed`, and contains only encrypted values. A primary key contains the handle (keyed
  hash) of a person or account instead of a name.
- Times are text in UTC with microseconds (`Moment`), so that SQLite and PostgreSQL sort them in the
  same order.
- The audit chain (the table `audit_event`) covers every row of all tables except those in `CHAIN`:
  a verification compares each row with the digest in the last event about this row.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
    type_coerce,
)
from sqlalchemy.types import NullType

from standfast.records import moment, timestamp

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as 27 characters of ISO 8601."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else timestamp(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else moment(value)


installation = Table(
    "installation",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("initialised_at", Moment, nullable=False),
)

person = Table(
    "person",
    metadata,
    Column("name", String(64), primary_key=True),  # the sign-in name, which is not sealed
    Column("sealed", LargeBinary, nullable=False),  # full name, mail, own accounts
    Column("accounts", Text, nullable=False),  # JSON list of handles of this person's own accounts
    Column("roles", Text, nullable=False),  # JSON list
    Column("public_key", String(64), nullable=False),  # Ed25519, hex
    Column("salt", String(32), nullable=False),  # salt of the passphrase, hex
    Column("enrolled_at", Moment, nullable=False),
    Column("enrolled_by", String(64), nullable=False),
    Column("is_founding", Boolean, nullable=False),  # enrolled on the first day or by the owner
    Column("seal", String(64), nullable=False),  # MAC over key, roles and others
    Column("removed_at", Moment),
)

passkey = Table(
    "passkey",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of the credential id, hex
    Column("person", ForeignKey("person.name"), nullable=False),
    Column("credential", Text, nullable=False),  # credential id, base64url
    Column("public_key", Text, nullable=False),  # COSE_Key, base64url
    Column("origin", String(255), nullable=False),  # origin of the console
    Column("added_at", Moment, nullable=False),
    Column("signature", String(128), nullable=False),  # made with the person's Ed25519 key, hex
    Column("removed_at", Moment),
)

# Members of staff lists. They approve nothing: approvers are in `person`.
staff = Table(
    "staff",
    metadata,
    Column("source", String(64), primary_key=True),  # csv, scim.NAME or ldap.NAME
    Column("key", String(32), primary_key=True),  # handle of the person's key in that list
    Column("sealed", LargeBinary, nullable=False),  # key, names, mail, telephone, accounts
    Column("roles", Text, nullable=False),  # JSON list
    Column("leaves_at", Moment),  # end of the last working day; NULL: none is known
    Column("changed_at", Moment, nullable=False),
    Column("gone_at", Moment),  # since when the list lacks the member
)

incident = Table(
    "incident",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("scenario", String(64), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("state", String(16), nullable=False),  # open | closed
    Column("is_halted", Boolean, nullable=False),  # read before each call of an adapter
    Column("playbook", Text, nullable=False),  # the YAML as it was when the incident opened
    Column("connectors", Text, nullable=False),  # JSON: the adapters at the time of opening
    Column("sealed_inputs", LargeBinary, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("opened_by", String(64), nullable=False),
    Column("is_signed", Boolean, nullable=False),  # the requester signed in
    Column("trigger", String(128), index=True),  # key; messages with this key join the incident
    Column("joined", Integer, nullable=False),  # how often triggers or people added targets
    Column("seal", String(64), nullable=False),  # MAC over mode, requester, playbook and others
    Column("closed_at", Moment),
)

# Subjects by which a later message of a trigger finds an open incident.
incident_subject = Table(
    "incident_subject",
    metadata,
    Column("handle", String(32), primary_key=True),  # handle of an account, or of all inputs
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("recorded_at", Moment, nullable=False),
)

# Messages of triggers (such as a webhook) by source and id, so that a repeated message changes
# nothing. A row is inserted in the transaction in which the message opens or joins its incident.
trigger_message = Table(
    "trigger_message",
    metadata,
    Column("source", String(64), primary_key=True),  # the trigger's name in the configuration
    Column("message", String(32), primary_key=True),  # handle of the message's id
    Column("incident", ForeignKey("incident.id"), nullable=False),
    Column("received_at", Moment, nullable=False),
)

# Facts that people state about an incident; legal clocks depend on these facts. A later statement
# does not replace the row of an earlier statement.
incident_fact = Table(
    "incident_fact",
    metadata,
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1, in order
    Column("kind", String(16), nullable=False),  # deadlines.incident_facts.FactKind
    Column("name", String(128), nullable=False),  # its meaning depends on the kind
    Column("at", Moment),
    Column("people", Integer),  # number of people
    Column("is_so", Boolean),
    Column(
        "sealed", LargeBinary, nullable=False
    ),  # the reference: a document, a receipt or a reason
    Column("author", String(64), nullable=False),
    Column("recorded_at", Moment, nullable=False),
)

# Notes of people about an incident: text, and files that are sealed as evidence.
incident_note = Table(
    "incident_note",
    metadata,
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1, in order
    Column("sealed", LargeBinary, nullable=False),  # the text
    Column("files", Integer, nullable=False),  # number of sealed files
    Column("folder", String(64), nullable=False),  # SOURCE/TOKEN of the sealed files; else ""
    Column("author", String(64), nullable=False),
    Column("recorded_at", Moment, nullable=False),
)

# Lists of the people that an incident affects; a list never changes.
affected_list = Table(
    "affected_list",
    metadata,
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 1, in order
    Column("people", Integer, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("digest", String(64), nullable=False),  # over the pages, in order
    Column("replaces", Boolean, nullable=False),  # this list replaces all earlier lists
    Column("sealed", LargeBinary, nullable=False),  # source; numbers by field and jurisdiction
    Column("author", String(64), nullable=False),
    Column("recorded_at", Moment, nullable=False),
)
affected_page = Table(
    "affected_page",
    metadata,
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # number of the list
    Column("page", Integer, primary_key=True, autoincrement=False),  # from 1
    Column("sealed", LargeBinary, nullable=False),  # the people, under the key of the incident
)

# Steps of incidents: one row for each planning (round) of a step.
step = Table(
    "step",
    metadata,
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("due_at", Moment),  # end of a wait
    Column("hold_seconds", Integer, nullable=False),  # time to abort before the first effect
    Column("runs_from", Moment),  # end of this time, or of the wait after one person's approval
    Column("is_asked", Boolean, nullable=False),  # its approvers were paged
    Column("rung", Integer, nullable=False),  # number of escalations
    Column("escalates_at", Moment),  # next escalation; NULL: there is no further level
    Column("joined", Integer, nullable=False),  # value of `incident.joined` that the round covers
    Column("is_accepted", Boolean, nullable=False),  # a person accepted the incomplete step
    Column("needs_approvals", Integer, nullable=False),
    Column("roles", Text, nullable=False),  # JSON list: roles that may approve or answer
    Column("plan", Text, nullable=False),  # canonical JSON: digest of effects, settings of adapters
    Column("digest", String(64), nullable=False),  # digest of the plan; an approval signs it
    Column("nonce", String(32), nullable=False),  # makes an approval valid for this step only
    Column("seal", String(64), nullable=False),  # MAC over need of approval, digest and others
    Column("sealed_answer", LargeBinary),
    Column("reason", Text, nullable=False),
)

_IS_UNDO = text("undoes IS NOT NULL")

# Effects: single changes of targets, such as one account to lock or one message to send.
effect = Table(
    "effect",
    metadata,
    # Hash of (incident, step, round, verb, handle): planning the same effect twice creates it once,
    # and the provider receives the same token in every attempt.
    Column("token", String(32), primary_key=True),
    Column("incident", ForeignKey("incident.id"), nullable=False),
    Column("step", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("position", Integer, nullable=False),  # order within the step
    Column("verb", String(64), nullable=False),
    Column("connector", String(64), nullable=False),
    Column("handle", String(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # target and details
    Column("state", String(16), nullable=False),
    Column("is_parked", Boolean, nullable=False),  # waits for a person's decision or report
    Column("sealed_prior", LargeBinary),
    Column("undoes", ForeignKey("effect.token")),
    Column("tries", Integer, nullable=False),
    Column("not_before", Moment),
    Column("attempt", ForeignKey("attempt.token")),
    Column("sealed_reason", LargeBinary),
    Column("proof", String(16), nullable=False),
    Column("sealed_facts", LargeBinary),
    # Index to find the next effects to execute; its first columns also serve counts.
    Index(None, "incident", "state", "verb", "connector", "step", "round", "position"),
    Index(None, "handle", "verb"),
    Index(None, "attempt"),
    # Index for the foreign key: without it, a deletion reads the whole table. Only the effects of
    # an undo have a value in this column.
    Index(None, "undoes", postgresql_where=_IS_UNDO, sqlite_where=_IS_UNDO),
)

# The delivery state of a submitted message: the provider's report of the highest rank, as
# `messages.delivery_reports` defines it.
delivery = Table(
    "delivery",
    metadata,
    Column("effect", ForeignKey("effect.token"), primary_key=True),
    Column("state", String(16), nullable=False),  # records.DeliveryState
    Column("at", Moment, nullable=False),  # time by the provider's clock
    Column("complained_at", Moment),  # time of the recipient's first spam report
)

# Calls of adapters: one row, written before the call, for all effects of the call.
attempt = Table(
    "attempt",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("incident", ForeignKey("incident.id"), nullable=False),
    Column("runner", ForeignKey("runner.id"), nullable=False),
    Column("verb", String(64), nullable=False),
    Column("connector", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("digest", String(64), nullable=False),  # digest of the tokens of its effects
    Column("submitted_at", Moment, nullable=False),
    Column("settle_after", Moment, nullable=False),  # a lookup before this time proves nothing
    Column("is_local", Boolean, nullable=False),  # the call ends when its runner ends
    Column("lapsed_at", Moment),
    Column("ended_at", Moment),
    Index(None, "incident", "ended_at"),
)

approval = Table(
    "approval",
    metadata,
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("step", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("person", ForeignKey("person.name"), primary_key=True),
    Column("decision", String(16), nullable=False),  # approve | refuse | break-glass
    Column("digest", String(64), nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("signature", Text, nullable=False),  # Ed25519, hex; or a passkey's assertion, JSON
    Column("decided_at", Moment, nullable=False),
)

notice = Table(
    "notice",
    metadata,
    Column("incident", ForeignKey("incident.id"), primary_key=True),
    Column("step", String(64), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("template", String(64), nullable=False),
    Column("body", Text, nullable=False),  # JSON: language → parts with placeholders
    Column("digest", String(64), nullable=False),
    Column("root", String(64), nullable=False),  # Merkle root of the recipients' digests
    Column("audience", String(64), nullable=False),
    Column("recipients", Integer, nullable=False),
)

# Runners: processes that execute incidents, each with a lease (`alive_until`).
runner = Table(
    "runner",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("incident", ForeignKey("incident.id")),  # NULL: a `serve`
    Column("way", String(16), nullable=False),  # serve | prefect | direct
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("alive_until", Moment, nullable=False),
    Column("ended_at", Moment),
)

# Runs of backups, drills and verifications.
run = Table(
    "run",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),  # such as backup, drill, verify or call-out
    Column("subject", String(128), nullable=False),  # such as the backup set
    Column("way", String(16), nullable=False),  # such as serve, prefect or direct
    Column("state", String(16), nullable=False),  # running, done, partial, failed, or of the kind
    Column("started_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("summary", Text, nullable=False),  # JSON: counts and measures, not personal
    Index(None, "kind", "subject", "started_at"),
)

audit_event = Table(
    "audit_event",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("subject", String(128), nullable=False),  # such as an incident, a run or a person
    Column("action", String(64), nullable=False),
    Column("detail", Text, nullable=False),  # canonical JSON
    Column("changes", Text, nullable=False),  # canonical JSON: table → [[key…, row digest]…]
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("seal", String(64), nullable=False),  # MAC over the hash: only the ledger can add events
    Index(None, "subject", "sequence"),
)

# Heads: signatures over the number and hash of the event that was the newest.
audit_head = Table(
    "audit_head",
    metadata,
    Column("sequence", ForeignKey("audit_event.sequence"), primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("signed_at", Moment, nullable=False),
    Column("key", String(64), nullable=False),  # Ed25519 public key, hex
    Column("signature", String(128), nullable=False),
)


def as_stored(table: Table) -> list[ColumnElement[Any]]:
    """Return the columns without decoding, to read invalid values too."""
    return [type_coerce(column, NullType()).label(column.name) for column in table.columns]


CHAIN = frozenset({audit_event.name, audit_head.name})
