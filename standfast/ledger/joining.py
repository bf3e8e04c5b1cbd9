"""Which open incident a trigger repeats, and what it brings to it.

Rules
- The one with the trigger's key first; else one of the same scenario and mode that is about any of
  the same accounts, or says the very same where neither is about an account.
- What an incident is about stands beside it as handles, so that finding it opens nothing sealed:
  a message costs the same with one open incident and with thousands.
- Accounts are compared without their case; what is new is added after what was there.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from standfast.ledger.approvals import accounts_of
from standfast.ledger.core import Core
from standfast.ledger.tables import incident, incident_subject
from standfast.ledger.transaction import Write
from standfast.ledger.vault import INSTALLATION
from standfast.records import Json, JsonObject, Mode, canonical

_HANDLES_A_STATEMENT = 500


def repeated(
    core: Core,
    connection: Connection,
    trigger: str,
    scenario: str,
    mode: Mode,
    inputs: JsonObject,
) -> Row[Any] | None:
    """Give the open incident that this trigger repeats: the oldest where several are."""
    alike = (
        select(incident)
        .where(
            incident.c.scenario == scenario,
            incident.c.mode == mode.value,
            incident.c.state == "open",
        )
        .order_by(incident.c.opened_at)
        .limit(1)
    )
    found = connection.execute(alike.where(incident.c.trigger == trigger)).first()
    if found is not None:
        return found
    handles = _subjects(core, inputs)
    oldest: list[Row[Any]] = []
    for start in range(0, len(handles), _HANDLES_A_STATEMENT):
        same = select(incident_subject.c.incident).where(
            incident_subject.c.handle.in_(handles[start : start + _HANDLES_A_STATEMENT])
        )
        oldest += connection.execute(alike.where(incident.c.id.in_(same))).all()
    return min(oldest, key=lambda row: row.opened_at, default=None)


def keep_subjects(core: Core, write: Write, incident_id: str, inputs: JsonObject) -> None:
    """Write down what an incident is about, so that a trigger finds it; again changes nothing."""
    rows = [
        {"handle": handle, "incident": incident_id, "recorded_at": write.now}
        for handle in _subjects(core, inputs)
    ]
    write.insert_new(incident_subject, *rows)


def join(core: Core, write: Write, known: Row[Any], inputs: JsonObject) -> int:
    """Add the targets that an open incident does not have yet; give their number."""
    before = inputs_of(core, known)
    merged: dict[str, Json] = dict(before)
    added = 0
    for name, value in inputs.items():
        if isinstance(value, list):
            there = before.get(name)
            old = there if isinstance(there, list) else []
            known_names = accounts_of({name: old})
            new = [
                one for one in value if isinstance(one, str) and one.casefold() not in known_names
            ]
            merged[name] = [*old, *new]
            added += len(new)
    if added:
        write.update(
            incident,
            (known.id,),
            joined=incident.c.joined + 1,
            sealed_inputs=core.vault.seal(INSTALLATION, f"incident {known.id}", merged),
        )
        keep_subjects(core, write, known.id, inputs)
    return added


def inputs_of(core: Core, row: Row[Any]) -> JsonObject:
    """Open what an incident was opened with, and what joined it since."""
    return core.vault.open(INSTALLATION, f"incident {row.id}", row.sealed_inputs)


def _subjects(core: Core, inputs: JsonObject) -> Sequence[str]:
    """Give the handles of what inputs are about: their accounts, or else every word of them.

    Without accounts only the very same words are the same thing: of two reports that staff wrote,
    the second would be lost otherwise.
    """
    accounts = sorted(accounts_of(inputs))
    names = [f"subject account {name}" for name in accounts] or [
        f"subject words {canonical(inputs).decode()}"
    ]
    return [core.vault.handle(INSTALLATION, name) for name in names]
