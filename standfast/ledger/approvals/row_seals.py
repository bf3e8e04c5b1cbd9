"""MACs over the columns that decide about approvals.

Rules
- Three kinds of rows have a MAC (seal). In the row of a person, it covers the key and the roles. In
  the row of a step (one part of a playbook), it covers the number of needed approvals, the digest
  of the plan and the nonce. In the row of an incident, it covers the mode, the requester (the
  person that opened the incident) and the playbook.
- The key of the MACs is in a file outside the database, and the seals are verified before each
  change of an account or other target. So access to the database alone is not enough to forge these
  columns.
- A break-glass approval (by one person alone) lets a step run after a waiting time. The seal of the
  step also covers the end of this time.
"""

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from standfast.errors import Damaged
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.records import timestamp


def seal_of_person(database: AuditedDatabase, row: RowMapping | dict[str, Any]) -> str:
    """Return the MAC over the columns that let this person approve."""
    return database.cipher.mac(
        "person",
        [
            *(row[name] for name in ("name", "public_key", "roles", "accounts", "enrolled_by")),
            timestamp(row["enrolled_at"]),
            row["is_founding"],
        ],
    )


def seal_of_step(
    database: AuditedDatabase, row: RowMapping | dict[str, Any], opens_at: datetime | None = None
) -> str:
    """Return the MAC over the columns that define a step's need of approval.

    If a break-glass approval set the start time `opens_at`, the MAC covers this time too.
    """
    need = ("incident", "name", "round", "needs_approvals", "hold_seconds", "roles")
    facts = [row[name] for name in (*need, "digest", "nonce")]
    return database.cipher.mac("step", [*facts, *([timestamp(opens_at)] if opens_at else [])])


def opens_at(database: AuditedDatabase, row: RowMapping) -> datetime | None:
    """Return when a break-glass approval takes effect.

    None if the step has no break-glass approval, or if the seal does not cover the stored time.
    """
    at: datetime | None = row["runs_from"]
    is_sealed = at is not None and row["seal"] == seal_of_step(database, row, at)
    return at if is_sealed else None


def seal_of_incident(database: AuditedDatabase, row: RowMapping | dict[str, Any]) -> str:
    """Return the MAC over an incident's mode, requester and playbook."""
    return database.cipher.mac(
        "incident",
        [
            *(row[name] for name in ("id", "scenario", "mode", "playbook", "connectors")),
            timestamp(row["opened_at"]),
            row["opened_by"],
            row["is_signed"],
        ],
    )


def refuse_forged_incident(database: AuditedDatabase, row: RowMapping) -> None:
    """Raise Damaged if an incident was changed since it was opened."""
    if row["seal"] != seal_of_incident(database, row):
        raise Damaged(
            f"incident {row['id']}: changed outside the ledger. Nothing was done. Run `standfast "
            "audit verify`."
        )


def refuse_forged_step(database: AuditedDatabase, row: RowMapping) -> None:
    """Raise Damaged if a step's need of approval was changed."""
    is_sealed = row["seal"] == seal_of_step(database, row) or opens_at(database, row) is not None
    if not is_sealed or hashlib.sha256(row["plan"].encode()).hexdigest() != row["digest"]:
        raise Damaged(
            f"step {row['name']!r} of {row['incident']}: changed outside the ledger. Nothing was "
            "done. Run `standfast audit verify`."
        )
