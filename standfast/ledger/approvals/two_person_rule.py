"""Two-person rule: signed content, valid approvals, break-glass delay.

Rules
- A plan lists the changes of a step (one part of an incident's playbook); each planning of the step
  is a round with a number. An approval signs (incident, step, round, digest of the plan, nonce of
  the step, decision, person). So an approval is invalid for another plan, another step or a second
  use. The signing key is derived from the person's passphrase, or is a passkey that the derived key
  has signed (`passkeys`).
- `objections` contains the rules by which a person may not decide, and `row_seals` the MACs that
  are verified again before each change.
- One more approval is needed if the requester, which opened the incident, did not sign in, because
  the requester could then be the approver.
- If nobody else can be reached, one person alone may sign in and give a break-glass approval: any
  role is enough, and the requester may give it too. The step begins ten minutes later
  (`BREAK_GLASS_DELAY`) unless somebody refuses it.
- A break-glass approval may not be reviewed by a person that is connected with its author: one of
  them enrolled the other, directly or through further people.
- Before each change, every stored approval is verified again. A date of approval in the future
  counts as the present time, so that a forged date cannot make a recent enrolment seem older.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, RowMapping, bindparam, select

from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger.approvals import passkeys
from standfast.ledger.approvals.decisions import APPROVE, BREAK_GLASS, OBJECT, REFUSE
from standfast.ledger.approvals.objections import objection, root_of_name, standing_objection
from standfast.ledger.approvals.row_seals import opens_at, refuse_forged_step
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.tables import approval, person, step
from standfast.records import Json, StepState, canonical
from standfast.webauthn import challenge_for

_CONTEXT = b"standfast approval v1\n"
# Time in which everybody else can refuse a break-glass approval.
BREAK_GLASS_DELAY = timedelta(minutes=10)
_STEP = select(step).where(
    step.c.incident == bindparam("incident"),
    step.c.name == bindparam("name"),
    step.c.round == bindparam("round"),
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """The question whether a step may run, with the fields that people sign."""

    incident: str
    step: str
    round: int
    digest: str
    nonce: str
    needed: int  # number of approvals that the step needs
    given: int  # number of approvals that are valid now
    roles: tuple[str, ...]  # roles that may approve; empty: every role
    hold_seconds: int = 0
    opens_at: datetime | None = None  # when a break-glass approval takes effect
    is_review: bool = False  # the step began with a break-glass approval

    def message(self, person_name: str, decision: str) -> bytes:
        """Return the bytes that a person signs for a decision."""
        body: dict[str, Json] = {
            "incident": self.incident,
            "step": self.step,
            "round": self.round,
            "digest": self.digest,
            "nonce": self.nonce,
            "person": person_name,
            "decision": decision,
        }
        return _CONTEXT + canonical(body)


def question(
    database: AuditedDatabase, connection: Connection, incident_id: str, step_name: str
) -> Question:
    """Return the open question of a step; UsageError without one."""
    row = (
        connection.execute(
            select(step)
            .where(step.c.incident == incident_id, step.c.name == step_name)
            .order_by(step.c.round.desc())
            .limit(1)
        )
        .mappings()
        .first()
    )
    is_asking = row is not None and row["state"] == StepState.ASKING
    if row is None or not (is_asking or unreviewed(database, connection, row)):
        state = row["state"] if row else "not reached yet"
        raise UsageError(
            f"step {step_name!r} of {incident_id}: needs no approval now (it is {state}). "
            f"`standfast incident status {incident_id}` shows the steps that need approval."
        )
    return Question(
        incident=incident_id,
        step=step_name,
        round=row["round"],
        digest=row["digest"],
        nonce=row["nonce"],
        needed=row["needs_approvals"],
        given=len(_approvals(database, connection, row)),
        roles=tuple(json.loads(row["roles"])),
        hold_seconds=row["hold_seconds"],
        opens_at=opens_at(database, row)
        if is_asking and break_glass_approver(database, connection, row)
        else None,
        is_review=not is_asking,
    )


def refuse_unfit(
    database: AuditedDatabase,
    connection: Connection,
    asked: Question,
    person_name: str,
    decision: str,
    signature: str,
    now: datetime,
) -> None:
    """Raise ApprovalRefused, with the broken rule, for an invalid decision."""
    if decision not in (APPROVE, REFUSE, BREAK_GLASS):
        raise ApprovalRefused(f"decision {decision!r}: unknown. Approve or refuse.")
    fields = ("incident", "step", "round", "digest", "nonce")
    row: dict[str, Any] = {name: getattr(asked, name) for name in fields}
    row |= {"person": person_name, "decision": decision, "signature": signature, "decided_at": now}
    case, roles = asked.incident, asked.roles
    is_objection = asked.is_review or (decision == REFUSE and asked.opens_at is not None)
    as_what = OBJECT if is_objection else decision
    why = objection(database, connection, case, person_name, roles, now, as_what=as_what)
    if why := why or _objection(database, connection, row, roles, now, as_what=as_what):
        raise ApprovalRefused(why)
    if asked.is_review:
        _refuse_own_review(database, connection, asked, person_name)
    elif decision == APPROVE:
        _refuse_connected(database, connection, asked, person_name)


def _refuse_own_review(
    database: AuditedDatabase, connection: Connection, asked: Question, person_name: str
) -> None:
    """Raise ApprovalRefused for a review by a connected person."""
    key = {"incident": asked.incident, "name": asked.step, "round": asked.round}
    who = unreviewed(database, connection, connection.execute(_STEP, key).mappings().one())
    own = root_of_name(database, connection, person_name)
    if who is not None and own == root_of_name(database, connection, who):
        raise ApprovalRefused(
            f"{person_name!r}: connected by enrolments with {who!r}, who gave the break-glass "
            "approval. Somebody else must review it."
        )


def _refuse_connected(
    database: AuditedDatabase, connection: Connection, asked: Question, person_name: str
) -> None:
    """Raise ApprovalRefused if the person is connected with an approver."""
    key = {"incident": asked.incident, "name": asked.step, "round": asked.round}
    given = _approvals(database, connection, connection.execute(_STEP, key).mappings().one())
    other = given.get(root_of_name(database, connection, person_name), person_name)
    if other != person_name:
        raise ApprovalRefused(
            f"{person_name!r}: connected by enrolments with {other!r}, who approved already. "
            "Somebody else must approve."
        )


def verify_step_approvals(
    database: AuditedDatabase,
    connection: Connection,
    incident_id: str,
    step_name: str,
    round_: int,
    now: datetime,
) -> RowMapping:
    """Verify the approvals of a step again; return the row of the step.

    Raise ApprovalRefused if there are not enough valid approvals.
    """
    key = {"incident": incident_id, "name": step_name, "round": round_}
    row = connection.execute(_STEP, key).mappings().one()
    refuse_forged_step(database, row)
    if row["needs_approvals"] == 0:
        return row
    given = len(_approvals(database, connection, row, now))
    if given < row["needs_approvals"] and not is_open(database, connection, row, now):
        raise ApprovalRefused(
            f"step {step_name!r} of {incident_id}: {given} of {row['needs_approvals']} approvals "
            "verify. Nothing was done."
        )
    return row


def is_void(
    database: AuditedDatabase, connection: Connection, key: Sequence[str | int], asked: Question
) -> bool:
    """Return whether a stored decision is about another plan or was forged.

    `key` is incident, step, round and person. A void decision may be replaced: a forged row must
    not prevent the person from deciding.
    """
    columns = (approval.c.incident, approval.c.step, approval.c.round, approval.c.person)
    named = [column == part for column, part in zip(columns, key, strict=True)]
    if database.rows.changed(connection, approval, *named, incident_id=asked.incident):
        return True
    kept = connection.execute(select(approval.c.digest, approval.c.nonce).where(*named)).one()
    return tuple(kept) != (asked.digest, asked.nonce)


def void_signature(
    database: AuditedDatabase, connection: Connection, key: Sequence[str | int]
) -> str:
    """Return a decision's signature if its passkey was removed later, or "".

    `key` is incident, step, round and person. The caller has checked with `is_void` that the
    decision was not forged.
    """
    columns = (approval.c.incident, approval.c.step, approval.c.round, approval.c.person)
    named = (column == part for column, part in zip(columns, key, strict=True))
    stored = dict(connection.execute(select(approval).where(*named)).mappings().one())
    signature, challenge = str(stored["signature"]), challenge_for(_signed_bytes(stored))
    is_so = passkeys.is_of_removed(database, connection, stored["person"], signature, challenge)
    return signature if is_so else ""


def is_open(
    database: AuditedDatabase, connection: Connection, row: RowMapping, now: datetime
) -> bool:
    """Return whether a verified break-glass approval is in effect now."""
    at = opens_at(database, row)
    return (
        at is not None
        and at <= now
        and break_glass_approver(database, connection, row, now) is not None
    )


def break_glass_approver(
    database: AuditedDatabase, connection: Connection, row: RowMapping, now: datetime | None = None
) -> str | None:
    """Return the person of a verified break-glass approval, if any."""
    for given in _current_decisions(connection, row, (BREAK_GLASS,)):
        seen = now or given["decided_at"]
        if not _objection(database, connection, dict(given), (), seen, as_what=BREAK_GLASS):
            return cast("str", given["person"])
    return None


def unreviewed(database: AuditedDatabase, connection: Connection, row: RowMapping) -> str | None:
    """Return the break-glass approver of a begun step that was not reviewed.

    None if the step needs no review or has a valid review.
    """
    is_begun = row["state"] not in (StepState.ASKING, StepState.REFUSED)
    if not is_begun or opens_at(database, row) is None:
        return None
    who = break_glass_approver(database, connection, row)
    if who is None:
        return None
    own = root_of_name(database, connection, who)
    is_reviewed = any(
        not _objection(
            database, connection, dict(decision), (), decision["decided_at"], as_what=OBJECT
        )
        and root_of_name(database, connection, decision["person"]) != own
        for decision in _current_decisions(connection, row, (APPROVE, REFUSE))
    )
    return None if is_reviewed else who


def _current_decisions(
    connection: Connection, row: RowMapping, decisions: Sequence[str]
) -> Sequence[RowMapping]:
    """Return the decisions about the current plan of a step."""
    statement = select(approval).where(
        approval.c.incident == row["incident"],
        approval.c.step == row["name"],
        approval.c.round == row["round"],
        approval.c.decision.in_(decisions),
        approval.c.digest == row["digest"],
        approval.c.nonce == row["nonce"],
    )
    return connection.execute(statement).mappings().all()


def _approvals(
    database: AuditedDatabase, connection: Connection, row: RowMapping, now: datetime | None = None
) -> dict[str, str]:
    """Return the verified approvers of the current plan, by root of enrolment.

    People that are connected by enrolments have the same root, the first person of the series, and
    count as one approver. The break-glass approver counts too if that person may approve.
    """
    roles = tuple(json.loads(row["roles"]))
    found: dict[str, str] = {}
    for given in _current_decisions(connection, row, (APPROVE, BREAK_GLASS)):
        if not _objection(database, connection, dict(given), roles, now or given["decided_at"]):
            found.setdefault(root_of_name(database, connection, given["person"]), given["person"])
    return found


def _objection(
    database: AuditedDatabase,
    connection: Connection,
    given: dict[str, Any],
    roles: tuple[str, ...],
    now: datetime,
    *,
    as_what: str = APPROVE,
) -> str:
    """Return why a stored or new decision is not valid, or ""."""
    name, decided_at = given["person"], min(given["decided_at"], now)
    standing = standing_objection(
        database, connection, given["incident"], name, roles, decided_at, as_what=as_what
    )
    if standing:
        return standing
    public_key = connection.scalars(select(person.c.public_key).where(person.c.name == name)).one()
    message, signature = _signed_bytes(given), given["signature"]
    if signature.startswith("{"):
        try:
            passkeys.check(database, connection, name, signature, challenge_for(message))
        except ApprovalRefused as error:
            return str(error)
        return ""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(
            bytes.fromhex(signature), message
        )
    except (InvalidSignature, ValueError):
        return f"signature of {name!r}: wrong passphrase, or another plan. Try again."
    return ""


def _signed_bytes(given: dict[str, Any]) -> bytes:
    """Return the bytes that a stored decision signs."""
    asked = Question(
        incident=given["incident"],
        step=given["step"],
        round=given["round"],
        digest=given["digest"],
        nonce=given["nonce"],
        needed=0,
        given=0,
        roles=(),
    )
    return asked.message(given["person"], given["decision"])
