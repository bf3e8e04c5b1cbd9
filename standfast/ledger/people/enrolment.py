"""Stored people: roles, public keys, founding enrolments, connections.

Rules
- An enrolled person can approve steps of incidents. The ledger (the database) stores the person's
  sign-in name, public key and roles; other data of the person is encrypted.
- On the first day of an installation, before its first live incident, enrolments are founding
  enrolments. A person with a founding enrolment may approve immediately; any other enrolment must
  be a day old before its person may approve.
- The owner is the person with the offline signing key of the backups. An enrolment that this key
  signs is a founding enrolment at any time, because this key is the root of trust, and the only
  help if nobody can approve.
- No person is deleted: a removed person can no longer approve, and past approvals stay readable.
- Each later change of an enrolled person is signed by an enrolled person or by the owner. The audit
  event of the change contains this signature over the person, the change and the time.
- A person can grant only roles that they have. The owner's key can grant every role.
- A removal needs the signature of a second approver if fewer than two approvers would remain, in
  total or for a role. No enrolled person can remove the last approver. Neither rule applies to a
  removal that the owner's key signs.
- Two enrolled people must differ in full name and in mail address, compared as people read them
  (`folded`).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, cast

from sqlalchemy import Connection, RowMapping, select

from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger.approvals.named_accounts import folded
from standfast.ledger.approvals.objections import (
    Opener,
    enrolment_objection,
    is_fresh,
    may_decide,
    objection_without_targets,
    root_of,
)
from standfast.ledger.approvals.row_seals import seal_of_person
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.audit.transaction import Write, damaged
from standfast.ledger.people.people_changes import Signer, refuse_too_few
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import incident, installation, person
from standfast.records import Mode, canonical

_SETTING_UP = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Person:
    """One enrolled person, decrypted."""

    name: str
    full_name: str
    mail: str
    accounts: tuple[str, ...]  # "directory:name" of the person's own accounts
    roles: tuple[str, ...]
    public_key: str
    salt: str
    enrolled_at: datetime
    enrolled_by: str
    is_founding: bool
    is_removed: bool


class People:
    """All people that were ever enrolled."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def enrol(
        self,
        *,
        name: str,
        full_name: str,
        mail: str,
        accounts: Sequence[str],
        roles: Sequence[str],
        public_key: str,
        salt: str,
        enrolled_by: str,
        now: datetime,
        signer: Signer | None = None,
    ) -> Person:
        """Add a person; UsageError if the sign-in name was ever used.

        A `signer` is stored as the enrolling person; ApprovalRefused if the signer lacks one of the
        roles.
        """
        enrolled_by = signer.name if signer else enrolled_by
        with self._database.write(
            actor=enrolled_by, subject=name, action="person.enrolled", now=now
        ) as write:
            # Otherwise two concurrent enrolments could have the same full name.
            write.exclude_writers()
            is_setting_up = _is_setting_up(self._database, write.connection, now)
            self._refuse_enrolment(write.connection, full_name, mail, roles, signer, now)
            handles = [self._database.cipher.handle(INSTALLATION, account) for account in accounts]
            private = {"full_name": full_name, "mail": mail, "accounts": list(accounts)}
            row: dict[str, Any] = {
                "name": name,
                "sealed": self._database.cipher.seal(INSTALLATION, f"person {name}", private),
                "accounts": canonical(handles).decode(),
                "roles": canonical(sorted(roles)).decode(),
                "public_key": public_key,
                "salt": salt,
                "enrolled_at": now,
                "enrolled_by": enrolled_by,
                "is_founding": is_setting_up or (signer is not None and signer.is_owner),
                "removed_at": None,
            }
            row["seal"] = seal_of_person(self._database, row)
            if not write.insert_new(person, row):
                raise UsageError(f"person {name!r}: was used before. Choose another name.")
            write.add_detail(roles=sorted(roles), is_founding=row["is_founding"])
            if signer:
                write.add_detail(signature=signer.sign("enrol", name, roles, now))
        return self.get(name)

    def refuse_enrolment(
        self, full_name: str, mail: str, roles: Sequence[str], signer: Signer | None, now: datetime
    ) -> None:
        """Raise the errors of `enrol` before the passphrase is asked for."""
        with self._database.reading() as connection:
            self._refuse_enrolment(connection, full_name, mail, roles, signer, now)

    def _refuse_enrolment(
        self,
        connection: Connection,
        full_name: str,
        mail: str,
        roles: Sequence[str],
        signer: Signer | None,
        now: datetime,
    ) -> None:
        self._refuse_known(connection, full_name, mail)
        if signer and not _is_setting_up(self._database, connection, now):
            self._refuse_to_grant(connection, signer, roles)

    def is_setting_up(self, now: datetime) -> bool:
        """Return whether an enrolment would now be a founding enrolment."""
        with self._database.reading() as connection:
            return _is_setting_up(self._database, connection, now)

    def grant(self, name: str, roles: Sequence[str], signer: Signer, now: datetime) -> Person:
        """Add roles to a person; ApprovalRefused if the signer lacks a role."""
        with self._database.write(
            actor=signer.name, subject=name, action="person.granted", now=now
        ) as write:
            write.exclude_writers()
            row = self._row_to_change(write, name, signer)
            if why := enrolment_objection(self._database, write.connection, row, ()):
                raise ApprovalRefused(why)
            if not _is_setting_up(self._database, write.connection, now):
                self._refuse_to_grant(write.connection, signer, roles)
            all_roles = sorted({*json.loads(row["roles"]), *roles})
            changed = {**row, "roles": canonical(all_roles).decode()}
            changed["seal"] = seal_of_person(self._database, changed)
            write.update(person, (name,), roles=changed["roles"], seal=changed["seal"])
            write.add_detail(roles=all_roles, signature=signer.sign("grant", name, roles, now))
        return self.get(name)

    def remove(
        self, name: str, signer: Signer, now: datetime, *, second: Signer | None = None
    ) -> None:
        """Remove a person permanently.

        Raise ApprovalRefused for the last approver. Also raise it if fewer than two approvers would
        remain and there is no `second` signer.
        """
        with self._database.write(
            actor=signer.name, subject=name, action="person.removed", now=now
        ) as write:
            write.exclude_writers()
            row = self._row_to_change(write, name, signer)
            if not signer.is_owner:
                self._refuse_last(write.connection, row, signer, second, now)
            write.update(person, (name,), removed_at=now)
            write.add_detail(signature=signer.sign("remove", name, (), now))
            if second:
                signature = second.sign("remove", name, (), now)
                write.add_detail(second=second.name, second_signature=signature)

    def _row_to_change(self, write: Write, name: str, signer: Signer) -> RowMapping:
        """Verify the signer and return the row of the person to change."""
        row = _row_of(write.connection, name)
        if row["removed_at"] is not None:
            raise UsageError(
                f"{name!r}: already removed. `standfast people list` shows all people."
            )
        self._refuse_stranger(write.connection, signer)
        return row

    def _refuse_stranger(self, connection: Connection, signer: Signer) -> None:
        """Raise ApprovalRefused unless the signer is enrolled with this key."""
        if signer.is_owner:
            return  # the caller has compared this key with the owner's key in the vault
        who = _row_of(connection, signer.name)
        public_key = signer.key.public_key().public_bytes_raw().hex()
        if (why := enrolment_objection(self._database, connection, who, ())) or public_key != who[
            "public_key"
        ]:
            raise ApprovalRefused(why or f"passphrase of {signer.name!r}: wrong. Try again.")

    def _refuse_to_grant(
        self, connection: Connection, signer: Signer, roles: Sequence[str]
    ) -> None:
        self._refuse_stranger(connection, signer)
        if signer.is_owner:
            return
        lacking = sorted({*roles} - {*json.loads(_row_of(connection, signer.name)["roles"])})
        if lacking:
            raise ApprovalRefused(
                f"role {lacking[0]}: {signer.name!r} lacks it and cannot grant it. Sign as "
                "somebody that has it, or with --owner-key FILE."
            )

    def _refuse_last(
        self,
        connection: Connection,
        leaving: RowMapping,
        signer: Signer,
        second: Signer | None,
        now: datetime,
    ) -> None:
        """Raise ApprovalRefused if too few approvers would remain.

        Two people are connected if one enrolled the other, directly or through further people.
        First all approvers are counted, and then the approvers that are not connected with the
        signer. Both groups are counted in total and for each role of the leaving person.
        """
        rows = connection.execute(select(person).where(person.c.removed_at.is_(None))).mappings()
        able = [
            candidate
            for candidate in rows.all()
            if not enrolment_objection(self._database, connection, candidate, ())
            and not is_fresh(candidate, now)
        ]
        roots = {row["name"]: root_of(self._database, connection, row) for row in able}
        own = root_of(self._database, connection, _row_of(connection, signer.name))
        unconnected = [candidate for candidate in able if roots[candidate["name"]] != own]
        if second:
            self._refuse_stranger(connection, second)
            if second.name not in {row["name"] for row in unconnected} - {leaving["name"]}:
                raise ApprovalRefused(
                    f"{second.name!r}: cannot be the second signer. Choose an approver that was "
                    "enrolled more than a day ago and does not count together with "
                    f"{signer.name!r}."
                )
        for group in (able, unconnected):
            if leaving["name"] in {candidate["name"] for candidate in group}:
                refuse_too_few(leaving, group, roots, minimum=1 if second else 2)

    def _refuse_known(self, connection: Connection, full_name: str, mail: str) -> None:
        """Raise UsageError if an enrolled person has this name or address."""
        rows = connection.execute(select(person).where(person.c.removed_at.is_(None)))
        for other in map(self._decrypt_row, rows.mappings()):
            for attribute, new, old in (
                ("full name", full_name, other.full_name),
                ("mail address", mail, other.mail),
            ):
                if folded(new) == folded(old):
                    raise UsageError(
                        f"{attribute}: {other.name!r} has the same, and one human counts once. "
                        f"Remove that enrolment first, or use another {attribute}."
                    )

    def duplicates(self) -> list[tuple[str, str, str]]:
        """Return pairs of people with the same mail address or full name."""
        return [
            (first_person.name, second_person.name, attribute)
            for first_person, second_person in combinations(self.all(), 2)
            for attribute, first, second in (
                ("full name", first_person.full_name, second_person.full_name),
                ("mail address", first_person.mail, second_person.mail),
            )
            if folded(first) == folded(second)
        ]

    def counted_once(self, people: Iterable[Person]) -> int:
        """Return the number of people; connected people count as one approver."""
        with self._database.reading() as connection:
            return len(
                {root_of(self._database, connection, _row_of(connection, p.name)) for p in people}
            )

    def are_connected(self, first: str, second: str) -> bool:
        """Return whether two people (names) count as one, by enrolments.

        A removed person counts too. ApprovalRefused if an enrolment was changed outside this
        program.
        """
        with self._database.reading() as connection:
            rows = [_row_of(connection, name) for name in (first, second)]
            return len({root_of(self._database, connection, row) for row in rows}) == 1

    def get(self, name: str) -> Person:
        """Return one person; UsageError if nobody with this name is enrolled."""
        with self._database.reading() as connection:
            return self._decrypt_row(_row_of(connection, name))

    def verified_key(self, name: str) -> str:
        """Return the public key of an enrolled or removed person.

        Raise Damaged if the enrolment was changed outside this program.
        """
        with self._database.reading() as connection:
            changed = self._database.rows.changed(connection, person, person.c.name == name)
            statement = select(person).where(person.c.name == name)
            row = connection.execute(statement).mappings().first()
            if changed or row is None or row["seal"] != seal_of_person(self._database, row):
                raise damaged(person, [(name,)])
            return str(row["public_key"])

    def objection(self, name: str, roles: Sequence[str], now: datetime) -> str:
        """Return why this person may not answer a question to `roles`, or "".

        As for an approval, the enrolment must be a day old. Otherwise a person that can enrol
        people could immediately answer under a new name.
        """
        with self._database.reading() as connection:
            who = connection.execute(select(person).where(person.c.name == name)).mappings().one()
            why = enrolment_objection(self._database, connection, who, roles)
        if not why and roles and is_fresh(who, now):
            why = (
                f"{name!r}: enrolled less than a day ago. Somebody else with the role must answer."
            )
        return why

    def all(self, roles: Sequence[str] = ()) -> list[Person]:
        """Return the enrolled people with one of the roles; without roles, all."""
        statement = select(person).where(person.c.removed_at.is_(None)).order_by(person.c.name)
        with self._database.reading() as connection:
            found = [self._decrypt_row(row) for row in connection.execute(statement).mappings()]
        return [enrolled for enrolled in found if may_decide(roles, enrolled.name, enrolled.roles)]

    def other_approvers(self, opener: Opener, roles: Sequence[str], now: datetime) -> list[Person]:
        """Return the people that could approve for this requester now.

        One of `roles` is needed; without roles any person may approve.
        """
        with self._database.reading() as connection:
            statement = select(person).where(person.c.removed_at.is_(None)).order_by(person.c.name)
            return [
                self._decrypt_row(row)
                for row in connection.execute(statement).mappings().all()
                if not objection_without_targets(
                    self._database, connection, row, opener, roles, now
                )
            ]

    def _decrypt_row(self, row: RowMapping) -> Person:
        name = row["name"]
        sealed = self._database.cipher.open(INSTALLATION, f"person {name}", row["sealed"])
        return Person(
            name=name,
            full_name=cast("str", sealed["full_name"]),
            mail=cast("str", sealed["mail"]),
            accounts=tuple(cast("list[str]", sealed["accounts"])),
            roles=tuple(json.loads(row["roles"])),
            public_key=row["public_key"],
            salt=row["salt"],
            enrolled_at=row["enrolled_at"],
            enrolled_by=row["enrolled_by"],
            is_founding=row["is_founding"],
            is_removed=row["removed_at"] is not None,
        )


def _row_of(connection: Connection, name: str) -> RowMapping:
    statement = select(person).where(person.c.name == name)
    row = connection.execute(statement).mappings().first()
    if row is None:
        raise UsageError(
            f"person {name!r}: not enrolled. `standfast people list` shows all people."
        )
    return row


def _is_setting_up(database: AuditedDatabase, connection: Connection, now: datetime) -> bool:
    if changed := database.rows.changed(connection, installation):
        raise damaged(installation, changed)
    began = connection.scalar(select(installation.c.initialised_at))
    if began is None or now - began > _SETTING_UP:
        return False
    return not connection.scalar(
        select(incident.c.id).where(incident.c.mode == Mode.LIVE.value).limit(1)
    )
