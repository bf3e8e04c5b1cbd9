"""Stored passkeys: limit for each person, signature over each, removal.

Rules
- A key that is derived from the person's passphrase signs each passkey with all stored fields. So
  access to the database alone is not enough to create a passkey. A new passkey is valid
  immediately, because the person that adds it knows the passphrase, which can sign approvals too.
- Each verification of a passkey's signature first verifies the passphrase's signature over the
  passkey.
- A removed passkey is invalid, even if somebody deletes the removal from the database. The
  signatures that the passkey made before its removal are void too, because the stored date of a
  signature could be forged.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, RowMapping, func, select

from standfast import webauthn
from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.tables import passkey, person
from standfast.records import canonical, timestamp
from standfast.webauthn import NewPasskey

MOST_PASSKEYS = 10  # the most passkeys of one person

_CONTEXT = b"standfast passkey v1\n"


@dataclass(frozen=True, kw_only=True)
class Passkey:
    """One passkey of a person."""

    id: str
    person: str
    credential: str  # id of the credential on its device; base64url
    public_key: str  # COSE_Key, base64url
    origin: str
    added_at: datetime


def signed_bytes(name: str, new: NewPasskey, origin: str, added_at: datetime) -> bytes:
    """Return the bytes that a person's key signs to add a passkey."""
    return _CONTEXT + canonical(
        {
            "person": name,
            "credential": new.credential,
            "public_key": new.public_key,
            "origin": origin,
            "added_at": timestamp(added_at),
        }
    )


class Passkeys:
    """The passkeys of all people."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def add(
        self, name: str, new: NewPasskey, *, origin: str, signature: str, now: datetime
    ) -> Passkey:
        """Store a passkey that is signed by its person's passphrase.

        Raises ApprovalRefused unless the person signed the result of `signed_bytes`.
        """
        row: dict[str, Any] = {
            "id": _id_of(new.credential),
            "person": name,
            "credential": new.credential,
            "public_key": new.public_key,
            "origin": origin,
            "added_at": now,
            "signature": signature,
            "removed_at": None,
        }
        with self._database.write(
            actor=name, subject=name, action="passkey.added", now=now
        ) as write:
            who = write.connection.execute(
                select(person).where(person.c.name == name).with_for_update()
            ).one()
            if not _is_signed_by_passphrase(who._mapping, row):
                raise ApprovalRefused(f"passphrase of {name!r}: wrong. Try again.")
            count = write.connection.scalar(
                select(func.count()).where(passkey.c.person == name, passkey.c.removed_at.is_(None))
            )
            if count and count >= MOST_PASSKEYS:
                raise UsageError(
                    f"{name!r}: has {MOST_PASSKEYS} passkeys, the maximum. Remove a passkey that "
                    "is not used."
                )
            if not write.insert_new(passkey, row):
                raise UsageError("passkey: already added. Create a new one on the device.")
            write.add_detail(passkey=row["id"][:8], origin=origin)
        return _passkey_of_row(row)

    def of_person(self, name: str) -> list[Passkey]:
        """Return the usable passkeys of a person, oldest first."""
        statement = (
            select(passkey)
            .where(passkey.c.person == name, passkey.c.removed_at.is_(None))
            .order_by(passkey.c.added_at, passkey.c.id)
        )
        with self._database.reading() as connection:
            return [_passkey_of_row(row) for row in connection.execute(statement).mappings()]

    def signer(self, assertion: str, challenge: bytes) -> Passkey:
        """Return the passkey that signed `challenge`.

        Raises ApprovalRefused if the passkey is not stored here.
        """
        id_ = _id_of(webauthn.credential_of(assertion))
        with self._database.reading() as connection:
            row = connection.execute(select(passkey).where(passkey.c.id == id_)).mappings().first()
            if row is None:
                raise ApprovalRefused("passkey: unknown here. Sign in with the passphrase.")
            check(self._database, connection, row["person"], assertion, challenge)
        return _passkey_of_row(row)

    def remove(self, name: str, id_: str, actor: str, now: datetime) -> Passkey:
        """Remove a passkey permanently; `id_` is its id or the start of it."""
        devices = self.of_person(name)
        found = [device for device in devices if id_ and device.id.startswith(id_)]
        if len(found) != 1:
            ids = ", ".join(device.id[:8] for device in devices) or "none"
            raise UsageError(f"{name!r}: has no passkey {id_!r}. Known passkeys: {ids}.")
        with self._database.write(
            actor=actor, subject=name, action="passkey.removed", now=now
        ) as write:
            if not write.update(
                passkey, (found[0].id,), passkey.c.removed_at.is_(None), removed_at=now
            ):
                raise UsageError(
                    f"passkey {id_!r} of {name!r}: removed in the meantime. Nothing was changed."
                )
            write.add_detail(passkey=found[0].id[:8])
        return found[0]


def check(
    database: AuditedDatabase, connection: Connection, name: str, assertion: str, challenge: bytes
) -> None:
    """Raise ApprovalRefused unless a passkey of `name` signed `challenge`."""
    if (
        _verified_passkey(database, connection, name, assertion, challenge)["removed_at"]
        is not None
    ):
        raise ApprovalRefused(f"passkey of {name!r}: it was removed. Use another one.")


def is_of_removed(
    database: AuditedDatabase, connection: Connection, name: str, assertion: str, challenge: bytes
) -> bool:
    """Return whether a removed passkey of `name` signed `challenge`."""
    try:
        return (
            _verified_passkey(database, connection, name, assertion, challenge)["removed_at"]
            is not None
        )
    except ApprovalRefused:
        return False


def _verified_passkey(
    database: AuditedDatabase, connection: Connection, name: str, assertion: str, challenge: bytes
) -> RowMapping:
    """Return the passkey of `name`, removed or not, that signed `challenge`."""
    id_ = _id_of(webauthn.credential_of(assertion))
    row = (
        connection.execute(select(passkey).where(passkey.c.id == id_, passkey.c.person == name))
        .mappings()
        .first()
    )
    if row is None:
        raise ApprovalRefused(f"{name!r}: has no such passkey. Use another one.")
    who = connection.execute(select(person).where(person.c.name == name)).mappings().one()
    if database.rows.changed(
        connection, passkey, passkey.c.id == id_
    ) or not _is_signed_by_passphrase(who, row):
        raise ApprovalRefused(
            f"passkey of {name!r}: changed outside the ledger. Run `standfast audit verify`."
        )
    webauthn.check(
        assertion, public_key=row["public_key"], challenge=challenge, origin=row["origin"]
    )
    return row


def _is_signed_by_passphrase(who: RowMapping, row: RowMapping | dict[str, Any]) -> bool:
    """Return whether the key from this person's passphrase signed the passkey."""
    opened = _passkey_of_row(row)
    new = NewPasskey(credential=opened.credential, public_key=opened.public_key)
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(who["public_key"])).verify(
            bytes.fromhex(row["signature"]),
            signed_bytes(who["name"], new, opened.origin, opened.added_at),
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def _passkey_of_row(row: RowMapping | dict[str, Any]) -> Passkey:
    names = ("id", "person", "credential", "public_key", "origin", "added_at")
    return Passkey(**{name: row[name] for name in names})


def _id_of(credential: str) -> str:
    return hashlib.sha256(webauthn.decoded(credential)).hexdigest()
