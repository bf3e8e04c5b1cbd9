"""Changes of enrolled people: signer; number of approvers that remain.

An enrolled person has a public key in the ledger (the database) and can approve steps of incidents.
The owner is the person with the offline signing key of the backups.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.errors import ApprovalRefused
from standfast.records import canonical, timestamp

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

_CONTEXT = b"standfast people v1\n"
_OWNER = "owner:"  # no sign-in name has a colon


@dataclass(frozen=True, kw_only=True)
class Signer:
    """The signer of a change to the enrolled people."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def owner(cls, key: Ed25519PrivateKey) -> "Signer":
        """Return the owner as signer, named by the start of the public key."""
        return cls(name=_OWNER + key.public_key().public_bytes_raw().hex()[:16], key=key)

    @property
    def is_owner(self) -> bool:
        return self.name.startswith(_OWNER)

    def sign(self, action: str, name: str, roles: Sequence[str], now: datetime) -> str:
        """Return the signature over a change of one person, in hex."""
        change = {"action": action, "person": name, "roles": sorted(roles), "at": timestamp(now)}
        return self.key.sign(_CONTEXT + canonical({**change, "by": self.name})).hex()


def refuse_too_few(
    leaving: "RowMapping", group: "Sequence[RowMapping]", roots: Mapping[str, str], minimum: int
) -> None:
    """Raise ApprovalRefused if fewer than `minimum` approvers would remain.

    Approvers are counted in total and for each role of the leaving person. `roots` maps each name
    to the first person in its series of enrolments; people with the same root count as one.
    """
    for role in ("", *json.loads(leaving["roles"])):
        remaining = {
            roots[candidate["name"]]
            for candidate in group
            if candidate["name"] != leaving["name"]
            and (not role or role in json.loads(candidate["roles"]))
        }
        if len(remaining) >= minimum:
            continue
        number = "only one approver" if remaining else "no approver"
        action = (
            "Add --second PERSON, an approver who signs too, or use --owner-key FILE."
            if remaining
            else "Sign with the owner's key: --owner-key FILE."
        )
        raise ApprovalRefused(
            f"{leaving['name']!r}: {number}{f' as {role}' if role else ''} would remain. {action}"
        )
