"""Stored staff lists: members, changes, last days.

Rules
- A list is stored in one transaction, with its new, changed and missing members. If the same list
  is stored again, nothing changes and there is no audit event.
- Names, contacts and accounts are encrypted. A member is found by a handle: a keyed hash of the
  member's key in the list, such as a staff number.
- No member is deleted: a person that is missing from the list may still have accounts until
  somebody checks.
- Members of staff lists cannot approve a step of an incident: only enrolled people, which have a
  passphrase, can approve.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import staff
from standfast.records import JsonObject, canonical


@dataclass(frozen=True, kw_only=True)
class Member:
    """One person of a list of staff."""

    key: str  # unique in the list, such as a staff number
    full_name: str
    mail: str = ""
    phone: str = ""
    accounts: tuple[str, ...] = ()  # "directory:name"
    roles: tuple[str, ...] = ()
    leaves_at: datetime | None = None  # end of the last working day


@dataclass(frozen=True, kw_only=True)
class StaffRow:
    """One member of a list, as stored."""

    source: str
    member: Member
    gone_at: datetime | None  # the time since when the list lacks the member

    def has_left(self, now: datetime) -> bool:
        """Return whether the member has left or is missing from the list."""
        leaves_at = self.member.leaves_at
        return self.gone_at is not None or (leaves_at is not None and leaves_at <= now)


@dataclass(frozen=True, kw_only=True)
class StaffChanges:
    """The changes of a staff list; each member is in at most one group."""

    added: tuple[Member, ...] = ()
    changed: tuple[tuple[Member, Member], ...] = ()  # before, after
    gone: tuple[Member, ...] = ()
    unchanged: int = 0


class Staff:
    """All members that staff lists have ever named."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def all(self, source: str | None = None) -> list[StaffRow]:
        """Return the members of one list or of all, by list and name."""
        with self._database.reading() as connection:
            rows = self._rows(connection, source)
        return sorted(rows.values(), key=lambda row: (row.source, row.member.full_name))

    def compare(self, source: str, members: Sequence[Member]) -> StaffChanges:
        """Return the changes that storing this list would make."""
        with self._database.reading() as connection:
            return _changes(self._rows(connection, source), self._by_handle(members))

    def replace_list(
        self, source: str, members: Sequence[Member], actor: str, now: datetime
    ) -> StaffChanges:
        """Replace a list; return the changes."""
        by_handle = self._by_handle(members)
        with self._database.write(
            actor=actor, subject="staff", action="staff.taken", now=now
        ) as write:
            write.exclude_writers()
            stored = self._rows(write.connection, source)
            changes = _changes(stored, by_handle)
            new = [self._row(source, handle, by_handle[handle], now) for handle in by_handle]
            write.insert(staff, *(row for row in new if row["key"] not in stored))
            write.update_many(
                staff,
                [row for row in new if _is_other(stored.get(row["key"]), by_handle[row["key"]])],
            )
            for handle, row in stored.items():
                if handle not in by_handle and row.gone_at is None:
                    write.update(staff, (source, handle), gone_at=now)
            if changes.added or changes.changed or changes.gone:
                write.add_detail(
                    source=source,
                    added=len(changes.added),
                    changed=len(changes.changed),
                    gone=len(changes.gone),
                )
        return changes

    def _by_handle(self, members: Sequence[Member]) -> dict[str, Member]:
        cipher = self._database.cipher
        return {cipher.handle(INSTALLATION, f"staff {member.key}"): member for member in members}

    def _row(self, source: str, handle: str, member: Member, now: datetime) -> dict[str, Any]:
        sealed: JsonObject = {
            "key": member.key,
            "full_name": member.full_name,
            "mail": member.mail,
            "phone": member.phone,
            "accounts": list(member.accounts),
        }
        return {
            "source": source,
            "key": handle,
            "sealed": self._database.cipher.seal(INSTALLATION, _context(source, handle), sealed),
            "roles": canonical(list(member.roles)).decode(),
            "leaves_at": member.leaves_at,
            "changed_at": now,
            "gone_at": None,
        }

    def _rows(self, connection: Connection, source: str | None) -> dict[str, StaffRow]:
        statement = select(staff)
        if source is not None:
            statement = statement.where(staff.c.source == source)
            return {row.key: self._decrypt_row(row) for row in connection.execute(statement)}
        return {
            f"{row.source} {row.key}": self._decrypt_row(row)
            for row in connection.execute(statement)
        }

    def _decrypt_row(self, row: Row[Any]) -> StaffRow:
        sealed = self._database.cipher.open(INSTALLATION, _context(row.source, row.key), row.sealed)
        texts = cast("Mapping[str, str]", sealed)
        return StaffRow(
            source=row.source,
            member=Member(
                key=texts["key"],
                full_name=texts["full_name"],
                mail=texts["mail"],
                phone=texts["phone"],
                accounts=tuple(cast("list[str]", sealed["accounts"])),
                roles=tuple(json.loads(row.roles)),
                leaves_at=row.leaves_at,
            ),
            gone_at=row.gone_at,
        )


def _context(source: str, handle: str) -> str:
    return f"staff {source}/{handle}"


def _is_other(row: StaffRow | None, member: Member) -> bool:
    """Return whether a stored member differs from the member in the list."""
    return row is not None and (row.member != member or row.gone_at is not None)


def _changes(stored: Mapping[str, StaffRow], wanted: Mapping[str, Member]) -> StaffChanges:
    return StaffChanges(
        added=tuple(member for handle, member in wanted.items() if handle not in stored),
        changed=tuple(
            (stored[handle].member, member)
            for handle, member in wanted.items()
            if _is_other(stored.get(handle), member)
        ),
        gone=tuple(
            row.member
            for handle, row in stored.items()
            if handle not in wanted and row.gone_at is None
        ),
        unchanged=sum(
            handle in stored and not _is_other(stored[handle], member)
            for handle, member in wanted.items()
        ),
    )
