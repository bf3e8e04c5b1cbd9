"""The people who may be asked: enrolment, roles and public keys.

Rules
- A person is a sign-in name, a public key and roles; full name, mail and own accounts are sealed.
- While a place is set up (its first day, before the first live incident) enrolments are founding
  ones and may approve at once; later ones must be a day old.
- Nobody is deleted: a removed person can no longer approve, and what they approved stays readable.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Row, select

from backup.lazy_dataclass import dataclass
from standfast.errors import UsageError
from standfast.ledger.approvals import (
    Opener,
    is_fresh,
    may,
    objection_beside,
    seal_of_person,
    stranger,
)
from standfast.ledger.core import Core
from standfast.ledger.tables import incident, installation, person
from standfast.ledger.transaction import damaged
from standfast.ledger.vault import INSTALLATION
from standfast.records import Mode, canonical

_SETTING_UP = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Person:
    """One enrolled person, opened."""

    name: str
    full_name: str
    mail: str
    accounts: tuple[str, ...]  # "directory:name", their own
    roles: tuple[str, ...]
    public_key: str
    salt: str
    enrolled_at: datetime
    enrolled_by: str
    is_founding: bool
    is_removed: bool


class People:
    """Everybody who was ever enrolled."""

    def __init__(self, core: Core) -> None:
        self._core = core

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
    ) -> Person:
        """Add a person; UsageError when the name was ever used."""
        with self._core.write(
            actor=enrolled_by, subject=name, action="person.enrolled", now=now
        ) as write:
            handles = [self._core.vault.handle(INSTALLATION, account) for account in accounts]
            row: dict[str, Any] = {
                "name": name,
                "sealed": self._core.vault.seal(
                    INSTALLATION,
                    f"person {name}",
                    {"full_name": full_name, "mail": mail, "accounts": list(accounts)},
                ),
                "accounts": canonical(handles).decode(),
                "roles": canonical(sorted(roles)).decode(),
                "public_key": public_key,
                "salt": salt,
                "enrolled_at": now,
                "enrolled_by": enrolled_by,
                "is_founding": _is_setting_up(self._core, write.connection, now),
                "removed_at": None,
            }
            row["seal"] = seal_of_person(self._core, row)
            if not write.insert_new(person, row):
                raise UsageError(f"a person {name!r} was enrolled before; choose another name")
            write.tell(roles=sorted(roles), is_founding=row["is_founding"])
        return self.get(name)

    def is_setting_up(self, now: datetime) -> bool:
        """Would an enrolment of now be a founding one?"""
        with self._core.reading() as connection:
            return _is_setting_up(self._core, connection, now)

    def remove(self, name: str, actor: str, now: datetime) -> None:
        """Take a person's right to approve away, for good."""
        self.get(name)
        with self._core.write(actor=actor, subject=name, action="person.removed", now=now) as write:
            write.update(person, (name,), person.c.removed_at.is_(None), removed_at=now)

    def get(self, name: str) -> Person:
        """Give one person; UsageError when nobody of that name is enrolled."""
        with self._core.reading() as connection:
            row = connection.execute(select(person).where(person.c.name == name)).first()
        if row is None:
            raise UsageError(
                f"nobody named {name!r} is enrolled; `standfast people list` shows who is"
            )
        return self._open(row)

    def objection(self, name: str, roles: Sequence[str], now: datetime) -> str:
        """Say why this person may not speak for one of the roles, or nothing; none: for anybody.

        Like an approval, what a role alone may say takes an enrolment of a day: who can enrol
        people could else say it at once.
        """
        with self._core.reading() as connection:
            who = connection.execute(select(person).where(person.c.name == name)).mappings().one()
            why = stranger(self._core, connection, who, roles)
        if not why and roles and is_fresh(who, now):
            why = f"{name!r} was enrolled less than a day ago and cannot speak for a role yet"
        return why

    def all(self, roles: Sequence[str] = ()) -> list[Person]:
        """Give who is enrolled and not removed, with any of the roles (none named: everybody)."""
        statement = select(person).where(person.c.removed_at.is_(None)).order_by(person.c.name)
        with self._core.reading() as connection:
            found = [self._open(row) for row in connection.execute(statement)]
        return [one for one in found if may(roles, one.name, one.roles)]

    def able_beside(self, opener: Opener, roles: Sequence[str], now: datetime) -> list[Person]:
        """Give who could approve now what `opener` asks for, unless it touches their own accounts.

        `roles` are those of which one is needed; none: any person.
        """
        with self._core.reading() as connection:
            rows = connection.execute(
                select(person).where(person.c.removed_at.is_(None)).order_by(person.c.name)
            ).all()
            return [
                self._open(row)
                for row in rows
                if not objection_beside(self._core, connection, row._mapping, opener, roles, now)
            ]

    def _open(self, row: Row[Any]) -> Person:
        sealed = self._core.vault.open(INSTALLATION, f"person {row.name}", row.sealed)
        return Person(
            name=row.name,
            full_name=cast("str", sealed["full_name"]),
            mail=cast("str", sealed["mail"]),
            accounts=tuple(cast("list[str]", sealed["accounts"])),
            roles=tuple(json.loads(row.roles)),
            public_key=row.public_key,
            salt=row.salt,
            enrolled_at=row.enrolled_at,
            enrolled_by=row.enrolled_by,
            is_founding=row.is_founding,
            is_removed=row.removed_at is not None,
        )


def _is_setting_up(core: Core, connection: Connection, now: datetime) -> bool:
    if changed := core.rows.changed(connection, installation):
        raise damaged(installation, changed)
    began = connection.scalar(select(installation.c.initialised_at))
    if began is None or now - began > _SETTING_UP:
        return False
    return not connection.scalar(
        select(incident.c.id).where(incident.c.mode == Mode.LIVE.value).limit(1)
    )
