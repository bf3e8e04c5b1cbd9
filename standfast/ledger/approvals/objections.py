"""Objections: rules by which a person may not decide.

The requester is the person that opened the incident. A target is an account that a step changes.

Rules
- The approver is neither the requester nor a person whose own account is a target.
- A person whose enrolment (the stored roles and public key) is younger than a day may not approve.
  The exception is a founding enrolment, which was made while the installation was set up, or with
  the signing key of the owner of the backups.
- Two enrolled people are connected if one enrolled the other, directly or through further people.
  Only one of several connected people counts as requester, approver or reviewer. A founding
  enrolment does not connect two people.
- A break-glass approval is given by one person alone and takes effect after a waiting time. Every
  enrolled person may refuse or review it with a signature, even if an account of that person is a
  target. Otherwise a person could name everybody's accounts as targets, and then give a break-glass
  approval that nobody may refuse.
- The person whose account is a target may not decide if a requester that signed in named the
  account. If only a trigger (such as a webhook) named the account, or if the requester did not sign
  in, this person may decide, but one more approval is needed.
- If a step began before the first trigger added accounts to the incident, all its targets count as
  named by the requester. This includes an account whose name in the directory differs from the name
  that the requester wrote.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, bindparam, func, or_, select

from standfast.errors import ApprovalRefused
from standfast.ledger.approvals.decisions import APPROVE, BREAK_GLASS, OBJECT
from standfast.ledger.approvals.named_accounts import is_named
from standfast.ledger.approvals.row_seals import refuse_forged_incident, seal_of_person
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.tables import audit_event, effect, incident, person, step

MINIMUM_ENROLMENT_AGE = timedelta(days=1)  # required of approvers without a founding enrolment

_INCIDENT = select(incident).where(incident.c.id == bindparam("incident"))
_FIRST_JOINED = (
    select(func.min(audit_event.c.at))
    .where(audit_event.c.subject == bindparam("incident"), audit_event.c.action == "trigger.joined")
    .scalar_subquery()
)
# For the planned changes of the person's own accounts: the distinct answers to whether the
# requester alone chose the targets of the step. Undos are left out, because their step begins later
# than the step that they undo.
_IS_OF_REQUESTER = (
    select(or_(step.c.joined == 0, _FIRST_JOINED.is_(None), step.c.started_at < _FIRST_JOINED))
    .join_from(
        effect,
        step,
        (step.c.incident == effect.c.incident)
        & (step.c.name == effect.c.step)
        & (step.c.round == effect.c.round),
    )
    .where(
        effect.c.incident == bindparam("incident"),
        effect.c.handle.in_(bindparam("own", expanding=True)),
        effect.c.undoes.is_(None),
    )
    .distinct()
)


PERSON = "person:"  # prefix of a role that consists of one named person


@dataclass(frozen=True, kw_only=True)
class Opener:
    """The requester: a person that signed in, or a user of the machine."""

    name: str
    is_signed: bool


def may_decide(wanted: Collection[str], name: str, roles: Collection[str]) -> bool:
    """Return whether the person has a wanted role or is a wanted person.

    `wanted` contains roles and `person:NAME`. If it is empty, everybody may decide.
    """
    return not wanted or not {*roles, PERSON + name}.isdisjoint(wanted)


def root_of_name(database: AuditedDatabase, connection: Connection, name: str) -> str:
    statement = select(person).where(person.c.name == name)
    return root_of(database, connection, connection.execute(statement).mappings().one())


def objection(
    database: AuditedDatabase,
    connection: Connection,
    incident_id: str,
    name: str,
    roles: Collection[str],
    now: datetime,
    *,
    as_what: str = APPROVE,
) -> str:
    """Return why this person may decide nothing in the incident, or "".

    One of `roles` is needed; without roles any person may decide. `as_what` is APPROVE, REFUSE,
    BREAK_GLASS or OBJECT. Accounts in the inputs count as targets before a step plans them.
    """
    standing = standing_objection(
        database, connection, incident_id, name, roles, now, as_what=as_what
    )
    if standing or as_what == OBJECT:
        return standing
    row = connection.execute(_INCIDENT, {"incident": incident_id}).mappings().one()
    if row["is_signed"] and is_named(database, connection, row, name) is True:
        return _target_message(name)
    return ""


def _target_message(name: str) -> str:
    return f"{name!r}: an account of this person is among the targets. Somebody else must approve."


def standing_objection(
    database: AuditedDatabase,
    connection: Connection,
    incident_id: str,
    name: str,
    roles: Collection[str],
    now: datetime,
    *,
    as_what: str,
) -> str:
    """Return the objection that is checked again before each change, or "".

    It considers the planned targets, and not accounts that only the incident's inputs name.
    """
    who = connection.execute(select(person).where(person.c.name == name)).mappings().first()
    if who is None:
        return _not_enrolled_message(name)
    case_ = connection.execute(_INCIDENT, {"incident": incident_id}).mappings().one()
    refuse_forged_incident(database, case_)
    opener = Opener(name=case_["opened_by"], is_signed=case_["is_signed"])
    if as_what == OBJECT:
        return enrolment_objection(database, connection, who, ())
    if as_what == BREAK_GLASS:
        why = enrolment_objection(database, connection, who, ()) or _freshness_objection(who, now)
    else:
        why = objection_without_targets(database, connection, who, opener, roles, now)
    if why:
        return why
    own = json.loads(who["accounts"])
    if not own or not opener.is_signed:
        return ""
    touched = set(connection.scalars(_IS_OF_REQUESTER, {"incident": incident_id, "own": own}))
    if True in touched or (touched and is_named(database, connection, case_, name)):
        return _target_message(name)
    return ""


def objection_without_targets(
    database: AuditedDatabase,
    connection: Connection,
    who: RowMapping,
    opener: Opener,
    roles: Collection[str],
    now: datetime,
) -> str:
    """Return why the rules that ignore targets exclude this person, or ""."""
    name = who["name"]
    if why := enrolment_objection(database, connection, who, roles):
        return why
    if name == opener.name:
        return f"{name!r}: opened the incident. Somebody else must approve."
    if why := _connection_objection(database, connection, who, opener):
        return why
    return _freshness_objection(who, now)


def _freshness_objection(who: RowMapping, now: datetime) -> str:
    if is_fresh(who, now):
        return f"{who['name']!r}: enrolled less than a day ago. Somebody else must approve."
    return ""


def _connection_objection(
    database: AuditedDatabase, connection: Connection, who: RowMapping, opener: Opener
) -> str:
    """Return an objection if enrolments connect person and requester, or "".

    A requester that did not sign in is only known as a user of the machine. Then the person is
    refused only if this user enrolled the person. This weaker check is enough, because an incident
    of a requester that did not sign in needs one more approval.
    """
    name = who["name"]
    above = select(person).where(person.c.name == opener.name)
    found = connection.execute(above).mappings().first() if opener.is_signed else None
    try:
        own = root_of(database, connection, who)
        root = root_of(database, connection, found) if found else opener.name
    except ApprovalRefused as error:
        return str(error)
    if opener.is_signed and own == root:
        return (
            f"{name!r}: connected by enrolments with {opener.name!r}, who opened the incident. "
            "Somebody else must approve."
        )
    if not who["is_founding"] and who["enrolled_by"] == opener.name:
        return (
            f"{name!r}: enrolled by {opener.name!r}, who opened the incident. Somebody else must "
            "approve."
        )
    return ""


def root_of(database: AuditedDatabase, connection: Connection, who: RowMapping) -> str:
    """Return the first person in the series of enrolments up to this person.

    People with the same root count as one. Raise ApprovalRefused if an enrolment of the series was
    changed outside this program.
    """
    current, seen = who, set[str]()
    while not current["is_founding"]:
        seen.add(current["name"])
        above = select(person).where(person.c.name == current["enrolled_by"])
        found = connection.execute(above).mappings().first()
        if found is None:
            return str(current["enrolled_by"])  # the enroller is a user of the machine
        if found["seal"] != seal_of_person(database, found) or found["name"] in seen:
            raise ApprovalRefused(
                f"enrolment of {found['name']!r}, who enrolled {current['name']!r}: changed "
                "outside the ledger. Run `standfast audit verify`."
            )
        current = found
    return str(current["name"])


def enrolment_objection(
    database: AuditedDatabase, connection: Connection, who: RowMapping, roles: Collection[str]
) -> str:
    """Return why this is not an enrolled person with one of the roles, or ""."""
    name = who["name"]
    if who["removed_at"] is not None:
        return _not_enrolled_message(name)
    is_changed = database.rows.changed(connection, person, person.c.name == name)
    if is_changed or who["seal"] != seal_of_person(database, who):
        return f"enrolment of {name!r}: changed outside the ledger. Run `standfast audit verify`."
    if not may_decide(roles, name, json.loads(who["roles"])):
        return (
            f"{name!r}: lacks the roles that may decide this: {', '.join(roles)}. Ask a person "
            "that has one of them."
        )
    return ""


def _not_enrolled_message(name: str) -> str:
    return f"person {name!r}: not enrolled. `standfast people list` shows all people."


def is_fresh(who: RowMapping, now: datetime) -> bool:
    """Return whether the enrolment is too recent to be trusted."""
    return not who["is_founding"] and now - who["enrolled_at"] < MINIMUM_ENROLMENT_AGE
