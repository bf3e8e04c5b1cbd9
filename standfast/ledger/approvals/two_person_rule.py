"""The two-person rule: who may approve what, and the signatures that say so.

Rules
- An approval signs (incident, step, round, digest of the plan, nonce of the step, decision,
  person): it is worthless for another plan, another step or a second use. The key of a passphrase
  signs it, or a passkey for which that key signed (`passkeys`).
- Approver ≠ requester ≠ target. An enrolment younger than a day approves nothing, unless it was
  made while the place was set up or by the owner's key.
- One human counts once: of all people that enrolments connect, one counts, for the requester, the
  approvals and the reviews. Founding people are connected with nobody above them.
- A requester who did not sign in could be anybody, also the approver: one more approval is needed.
- Where nobody else can be reached, one person who signs in may break the glass: also the requester,
  whatever roles they have. What they signed opens the step ten minutes later (`GLASS`), unless
  somebody refuses it or it gets its approvals meanwhile. When it opens is under the step's MAC.
- To refuse a broken glass, and to review it, takes an enrolment and a signature, no more: whoever
  breaks it chooses the targets, and would choose who may not object. Who counts as one with the
  breaker reviews nothing.
- An account that only a trigger named, or a requester who did not sign in, disqualifies nobody:
  one approval more is asked for instead.
- What decides (a person's key and roles, a step's need, digest and nonce, an incident's mode,
  requester and playbook) is under a MAC whose key is not in the database, and every claim checks it
  again: the database alone forges nothing.
- A stored approval is no younger than the claim that rests on it: a date written in does not help.
"""

import hashlib
import json
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, RowMapping, bindparam, select

from standfast.errors import ApprovalRefused, Damaged, UsageError
from standfast.ledger.approvals import passkeys
from standfast.ledger.approvals.decisions import APPROVE, BREAK_GLASS, OBJECT, REFUSE
from standfast.ledger.audit.audited_database import Core
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import approval, effect, incident, person, step
from standfast.records import Json, JsonObject, StepState, canonical, timestamp
from standfast.webauthn import challenge_for

_CONTEXT = b"standfast approval v1\n"
_FRESH = timedelta(days=1)
GLASS = timedelta(minutes=10)  # in which everybody else can say no
_STEP = select(step).where(
    step.c.incident == bindparam("incident"),
    step.c.name == bindparam("name"),
    step.c.round == bindparam("round"),
)
_INCIDENT = select(incident).where(incident.c.id == bindparam("incident"))

BY_TRIGGERS = ".joined"  # beside the sealed inputs: the accounts among them that triggers added
PERSON = "person:"  # a role that one person has by name


@dataclass(frozen=True, kw_only=True)
class Opener:
    """Who asks for what is to be approved: a person who signed in, or a user of the machine."""

    name: str
    is_signed: bool


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an approver is asked, and signs."""

    incident: str
    step: str
    round: int
    digest: str
    nonce: str
    needed: int
    given: int
    roles: tuple[str, ...]
    hold_seconds: int = 0
    opens_at: datetime | None = None  # without further approvals, where somebody broke the glass
    is_review: bool = False  # the step has begun on one person's word

    def message(self, person_name: str, decision: str) -> bytes:
        """Give the bytes that `person_name` signs to say `decision`."""
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


def may(wanted: Collection[str], name: str, roles: Collection[str]) -> bool:
    """Has this person one of the wanted roles, or is named there? None wanted: everybody may."""
    return not wanted or not {*roles, PERSON + name}.isdisjoint(wanted)


def seal_of_person(core: Core, row: RowMapping | dict[str, Any]) -> str:
    """Give the MAC over what makes this person able to approve."""
    return core.vault.mac(
        "person",
        [
            *(row[name] for name in ("name", "public_key", "roles", "accounts", "enrolled_by")),
            timestamp(row["enrolled_at"]),
            row["is_founding"],
        ],
    )


def seal_of_step(
    core: Core, row: RowMapping | dict[str, Any], opens_at: datetime | None = None
) -> str:
    """Give the MAC over what this step needs before it may run, or when a broken glass opens it."""
    need = ("incident", "name", "round", "needs_approvals", "hold_seconds", "roles")
    facts = [row[name] for name in (*need, "digest", "nonce")]
    return core.vault.mac("step", [*facts, *([timestamp(opens_at)] if opens_at else [])])


def opens_at(core: Core, row: RowMapping) -> datetime | None:
    """Say when a broken glass opens the step; None where none was broken."""
    at: datetime | None = row["runs_from"]
    is_so = at is not None and row["seal"] == seal_of_step(core, row, at)
    return at if is_so else None


def seal_of_incident(core: Core, row: RowMapping | dict[str, Any]) -> str:
    """Give the MAC over what chooses an incident's adapters and steps, and who may approve them."""
    return core.vault.mac(
        "incident",
        [
            *(row[name] for name in ("id", "scenario", "mode", "playbook", "connectors")),
            timestamp(row["opened_at"]),
            row["opened_by"],
            row["is_signed"],
        ],
    )


def refuse_forged_incident(core: Core, row: RowMapping) -> None:
    """Raise Damaged when what decides about an incident is not what it was opened with."""
    if row["seal"] != seal_of_incident(core, row):
        raise Damaged(
            f"incident {row['id']} was changed outside the ledger; nothing was done; run "
            "`standfast audit verify`"
        )


def refuse_forged_step(core: Core, row: RowMapping) -> None:
    """Raise Damaged when what a step needs is not what the ledger wrote."""
    is_sealed = row["seal"] == seal_of_step(core, row) or opens_at(core, row) is not None
    if not is_sealed or hashlib.sha256(row["plan"].encode()).hexdigest() != row["digest"]:
        raise Damaged(
            f"what step {row['name']!r} of {row['incident']} needs was changed outside the ledger; "
            "nothing was done; run `standfast audit verify`"
        )


def question(core: Core, connection: Connection, incident_id: str, step_name: str) -> Question:
    """Give what stands to be approved in a step, or reviewed; UsageError when nothing does."""
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
    if row is None or not (is_asking or unreviewed(core, connection, row)):
        state = row["state"] if row else "not reached yet"
        raise UsageError(
            f"step {step_name!r} of {incident_id} asks for no approval now (it is {state}); "
            f"`standfast incident status {incident_id}` shows what does"
        )
    return Question(
        incident=incident_id,
        step=step_name,
        round=row["round"],
        digest=row["digest"],
        nonce=row["nonce"],
        needed=row["needs_approvals"],
        given=len(_approvals(core, connection, row)),
        roles=tuple(json.loads(row["roles"])),
        hold_seconds=row["hold_seconds"],
        opens_at=opens_at(core, row) if is_asking and breaker(core, connection, row) else None,
        is_review=not is_asking,
    )


def refuse_unfit(
    core: Core,
    connection: Connection,
    asked: Question,
    person_name: str,
    decision: str,
    signature: str,
    now: datetime,
) -> None:
    """Raise ApprovalRefused, naming the rule, unless this person's decision counts."""
    if decision not in (APPROVE, REFUSE, BREAK_GLASS):
        raise ApprovalRefused(f"a decision is to approve or refuse, not {decision!r}")
    fields = ("incident", "step", "round", "digest", "nonce")
    row: dict[str, Any] = {name: getattr(asked, name) for name in fields}
    row |= {"person": person_name, "decision": decision, "signature": signature, "decided_at": now}
    case, roles = asked.incident, asked.roles
    is_objection = asked.is_review or (decision == REFUSE and asked.opens_at is not None)
    as_what = OBJECT if is_objection else decision
    why = objection(core, connection, case, person_name, roles, now, as_what=as_what)
    if why := why or _objection(core, connection, row, roles, now, as_what=as_what):
        raise ApprovalRefused(why)
    if asked.is_review:
        _refuse_own_review(core, connection, asked, person_name)
    elif decision == APPROVE:
        _refuse_connected(core, connection, asked, person_name)


def _refuse_own_review(
    core: Core, connection: Connection, asked: Question, person_name: str
) -> None:
    """Raise ApprovalRefused where this person counts as one with who broke the glass."""
    key = {"incident": asked.incident, "name": asked.step, "round": asked.round}
    who = unreviewed(core, connection, connection.execute(_STEP, key).mappings().one())
    own = _root_of_name(core, connection, person_name)
    if who is not None and own == _root_of_name(core, connection, who):
        raise ApprovalRefused(
            f"{person_name!r} counts as one with {who!r}, who broke the glass. Somebody else must "
            "review it"
        )


def _refuse_connected(
    core: Core, connection: Connection, asked: Question, person_name: str
) -> None:
    """Raise ApprovalRefused where this person counts as one with somebody who approved already."""
    key = {"incident": asked.incident, "name": asked.step, "round": asked.round}
    given = _approvals(core, connection, connection.execute(_STEP, key).mappings().one())
    other = given.get(_root_of_name(core, connection, person_name), person_name)
    if other != person_name:
        raise ApprovalRefused(
            f"{person_name!r} and {other!r}, who approved already, count as one: enrolments "
            "connect them. Somebody else must approve"
        )


def holds(
    core: Core,
    connection: Connection,
    incident_id: str,
    step_name: str,
    round_: int,
    now: datetime,
) -> RowMapping:
    """Return the step; raise unless it has every approval that it needs, verified again."""
    key = {"incident": incident_id, "name": step_name, "round": round_}
    row = connection.execute(_STEP, key).mappings().one()
    refuse_forged_step(core, row)
    if row["needs_approvals"] == 0:
        return row
    given = len(_approvals(core, connection, row, now))
    if given < row["needs_approvals"] and not is_open(core, connection, row, now):
        raise ApprovalRefused(
            f"step {step_name!r} of {incident_id} has {given} of {row['needs_approvals']} "
            "approvals that verify; nothing was done"
        )
    return row


def is_void(core: Core, connection: Connection, key: Sequence[str | int], asked: Question) -> bool:
    """Is a decision that is kept none about what is asked, or none that the ledger kept?

    `key` is incident, step, round and person. Whoever writes into the database would otherwise keep
    that person from deciding.
    """
    columns = (approval.c.incident, approval.c.step, approval.c.round, approval.c.person)
    named = [column == part for column, part in zip(columns, key, strict=True)]
    if core.rows.changed(connection, approval, *named, of=asked.incident):
        return True
    kept = connection.execute(select(approval.c.digest, approval.c.nonce).where(*named)).one()
    return tuple(kept) != (asked.digest, asked.nonce)


def void_signature(core: Core, connection: Connection, key: Sequence[str | int]) -> str:
    """Give what a passkey said that its person has removed since, of a decision; else nothing.

    `key` is incident, step, round and person. What the ledger did not keep is `is_void`'s.
    """
    columns = (approval.c.incident, approval.c.step, approval.c.round, approval.c.person)
    named = (column == part for column, part in zip(columns, key, strict=True))
    said = dict(connection.execute(select(approval).where(*named)).mappings().one())
    signature, challenge = str(said["signature"]), challenge_for(_signed(said))
    is_so = passkeys.is_of_removed(core, connection, said["person"], signature, challenge)
    return signature if is_so else ""


def is_open(core: Core, connection: Connection, row: RowMapping, now: datetime) -> bool:
    """Was the step's glass broken long enough ago, by somebody whose signature verifies?"""
    at = opens_at(core, row)
    return at is not None and at <= now and breaker(core, connection, row, now) is not None


def breaker(
    core: Core, connection: Connection, row: RowMapping, now: datetime | None = None
) -> str | None:
    """Say who broke the step's glass."""
    for given in _said(connection, row, (BREAK_GLASS,)):
        seen = now or given["decided_at"]
        if not _objection(core, connection, dict(given), (), seen, as_what=BREAK_GLASS):
            return cast("str", given["person"])
    return None


def unreviewed(core: Core, connection: Connection, row: RowMapping) -> str | None:
    """Say who broke the glass of a step that has begun, while nobody else has signed for it."""
    is_begun = row["state"] not in (StepState.ASKING, StepState.REFUSED)
    if not is_begun or opens_at(core, row) is None:
        return None
    who = breaker(core, connection, row)
    if who is None:
        return None
    own = _root_of_name(core, connection, who)
    is_reviewed = any(
        not _objection(core, connection, dict(one), (), one["decided_at"], as_what=OBJECT)
        and _root_of_name(core, connection, one["person"]) != own
        for one in _said(connection, row, (APPROVE, REFUSE))
    )
    return None if is_reviewed else who


def _said(
    connection: Connection, row: RowMapping, decisions: Sequence[str]
) -> Sequence[RowMapping]:
    """Give what people decided about the step as it stands."""
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
    core: Core, connection: Connection, row: RowMapping, now: datetime | None = None
) -> dict[str, str]:
    """Return who approved this step, as it stands, and verifies: root of their enrolment → name.

    Who broke the glass counts, too, where their approval would. Of people that enrolments connect
    one counts.
    """
    roles = tuple(json.loads(row["roles"]))
    found: dict[str, str] = {}
    for given in _said(connection, row, (APPROVE, BREAK_GLASS)):
        if not _objection(core, connection, dict(given), roles, now or given["decided_at"]):
            found.setdefault(_root_of_name(core, connection, given["person"]), given["person"])
    return found


def _root_of_name(core: Core, connection: Connection, name: str) -> str:
    statement = select(person).where(person.c.name == name)
    return root_of(core, connection, connection.execute(statement).mappings().one())


def objection(
    core: Core,
    connection: Connection,
    incident_id: str,
    name: str,
    roles: Collection[str],
    now: datetime,
    *,
    as_what: str = APPROVE,
) -> str:
    """Say why this person may decide nothing in the incident now, whatever they sign; or nothing.

    `roles` are those of which one is needed; none: any person. `as_what` is APPROVE, REFUSE,
    BREAK_GLASS or OBJECT. An incident is also about the accounts that its inputs name, before any
    step has come to them.
    """
    standing = _standing_objection(core, connection, incident_id, name, roles, now, as_what=as_what)
    if standing or as_what == OBJECT:
        return standing
    row = connection.execute(_INCIDENT, {"incident": incident_id}).mappings().one()
    if row["is_signed"] and _is_named(core, connection, row, name) is True:
        return _is_target(name)
    return ""


def _is_target(name: str) -> str:
    return f"an account of {name!r} is among the targets; somebody else must approve"


def _is_named(core: Core, connection: Connection, case_: RowMapping, name: str) -> bool | None:
    """Return whether the requester named an account of this person; None: only a trigger did."""
    stored = core.vault.open(INSTALLATION, f"incident {case_['id']}", case_["sealed_inputs"])
    joined = {folded(one) for one in cast("list[str]", stored.get(BY_TRIGGERS, []))}
    sealed = connection.execute(select(person.c.sealed).where(person.c.name == name)).scalar_one()
    own = _spellings(
        cast("list[str]", core.vault.open(INSTALLATION, f"person {name}", sealed)["accounts"])
    )
    if (accounts_of(stored) - joined) & own:
        return True
    return None if joined & own else False


def accounts_of(inputs: JsonObject) -> set[str]:
    """Give every account that inputs name, as `folded` writes it."""
    lists = [value for value in inputs.values() if isinstance(value, list)]
    return {folded(name) for names in lists for name in names if isinstance(name, str)}


def _spellings(accounts: Sequence[str]) -> set[str]:
    """Give the ways to name these accounts: with their directory, and without."""
    return {folded(name) for account in accounts for name in (account, account.partition(":")[2])}


def folded(name: str) -> str:
    """Write a name as whoever compares two must: without its case, and an é as one letter.

    Before a directory is asked: most take for one what this does, and none locks by it.
    """
    return unicodedata.normalize("NFKC", name).casefold()


def _standing_objection(
    core: Core,
    connection: Connection,
    incident_id: str,
    name: str,
    roles: Collection[str],
    now: datetime,
    *,
    as_what: str,
) -> str:
    """Say the objections that every claim looks for again."""
    who = connection.execute(select(person).where(person.c.name == name)).mappings().first()
    if who is None:
        return _nobody(name)
    case_ = connection.execute(_INCIDENT, {"incident": incident_id}).mappings().one()
    refuse_forged_incident(core, case_)
    opener = Opener(name=case_["opened_by"], is_signed=case_["is_signed"])
    if as_what == OBJECT:
        return stranger(core, connection, who, ())
    if as_what == BREAK_GLASS:
        why = stranger(core, connection, who, ()) or _too_fresh(who, now)
    else:
        why = objection_beside(core, connection, who, opener, roles, now)
    if why:
        return why
    own = json.loads(who["accounts"])
    is_touched = (
        own
        and opener.is_signed
        and connection.scalar(
            select(effect.c.token)
            .where(effect.c.incident == incident_id, effect.c.handle.in_(own))
            .limit(1)
        )
    )
    if is_touched and _is_named(core, connection, case_, name) is not None:
        return _is_target(name)
    return ""


def objection_beside(
    core: Core,
    connection: Connection,
    who: RowMapping,
    opener: Opener,
    roles: Collection[str],
    now: datetime,
) -> str:
    """Say why this person may decide nothing that `opener` asks for, whatever it touches."""
    name = who["name"]
    if why := stranger(core, connection, who, roles):
        return why
    if name == opener.name:
        return f"{name!r} opened the incident; somebody else must approve"
    if why := _connection(core, connection, who, opener):
        return why
    return _too_fresh(who, now)


def _too_fresh(who: RowMapping, now: datetime) -> str:
    if is_fresh(who, now):
        return f"{who['name']!r} was enrolled less than a day ago and cannot approve yet"
    return ""


def _connection(core: Core, connection: Connection, who: RowMapping, opener: Opener) -> str:
    """Say that enrolments connect this person with the requester; or nothing.

    Of a requester who did not sign in only the enrolling user of the machine is compared: such an
    incident asks for one approval more.
    """
    name = who["name"]
    above = select(person).where(person.c.name == opener.name)
    found = connection.execute(above).mappings().first() if opener.is_signed else None
    try:
        own = root_of(core, connection, who)
        root = root_of(core, connection, found) if found else opener.name
    except ApprovalRefused as error:
        return str(error)
    if opener.is_signed and own == root:
        return (
            f"{name!r} and {opener.name!r}, who opened the incident, count as one: enrolments "
            "connect them"
        )
    if not who["is_founding"] and who["enrolled_by"] == opener.name:
        return f"{name!r} was enrolled by {opener.name!r}, who opened the incident"
    return ""


def root_of(core: Core, connection: Connection, who: RowMapping) -> str:
    """Return the person at the root of all enrolments that led to this one.

    People of one root count as one. ApprovalRefused where an enrolment between was changed outside
    the ledger.
    """
    one, seen = who, set[str]()
    while not one["is_founding"]:
        seen.add(one["name"])
        above = select(person).where(person.c.name == one["enrolled_by"])
        found = connection.execute(above).mappings().first()
        if found is None:
            return str(one["enrolled_by"])  # a user of the machine
        if found["seal"] != seal_of_person(core, found) or found["name"] in seen:
            raise ApprovalRefused(
                f"the enrolment of {found['name']!r}, who enrolled {one['name']!r}, was changed "
                "outside the ledger; see `audit verify`"
            )
        one = found
    return str(one["name"])


def stranger(core: Core, connection: Connection, who: RowMapping, roles: Collection[str]) -> str:
    """Say why this is nobody who was enrolled here with one of these roles; or nothing."""
    name = who["name"]
    if who["removed_at"] is not None:
        return _nobody(name)
    is_changed = core.rows.changed(connection, person, person.c.name == name)
    if is_changed or who["seal"] != seal_of_person(core, who):
        return f"the enrolment of {name!r} was changed outside the ledger; see `audit verify`"
    if not may(roles, name, json.loads(who["roles"])):
        return f"{name!r} has none of the roles that may decide this: {', '.join(roles)}"
    return ""


def _nobody(name: str) -> str:
    return f"{name!r} is not enrolled; `standfast people list` shows who is"


def is_fresh(who: RowMapping, now: datetime) -> bool:
    """Was this person enrolled so lately that an intruder may have done it?"""
    return not who["is_founding"] and now - who["enrolled_at"] < _FRESH


def _objection(
    core: Core,
    connection: Connection,
    given: dict[str, Any],
    roles: tuple[str, ...],
    now: datetime,
    *,
    as_what: str = APPROVE,
) -> str:
    """Say why this approval does not count, or nothing."""
    name, decided_at = given["person"], min(given["decided_at"], now)
    standing = _standing_objection(
        core, connection, given["incident"], name, roles, decided_at, as_what=as_what
    )
    if standing:
        return standing
    public_key = connection.scalars(select(person.c.public_key).where(person.c.name == name)).one()
    message, signature = _signed(given), given["signature"]
    if signature.startswith("{"):
        try:
            passkeys.check(core, connection, name, signature, challenge_for(message))
        except ApprovalRefused as error:
            return str(error)
        return ""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(
            bytes.fromhex(signature), message
        )
    except (InvalidSignature, ValueError):
        return f"the signature of {name!r} does not verify: a wrong passphrase, or another plan"
    return ""


def _signed(given: dict[str, Any]) -> bytes:
    """Give the bytes that a stored decision signs."""
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
