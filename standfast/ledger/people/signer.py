"""The signer of changes to the enrolled people: a person or the owner.

The owner is the person with the offline signing key of the backups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.records import canonical, timestamp

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
