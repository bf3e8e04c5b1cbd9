"""Keeper key: a file that the owner makes for the keeper's machine.

- The owner is the person with the offline signing key. The keeper is the machine that may expire
  backups. Its key signs keep records, the lists of expired recovery points and removed packs. The
  key cannot decrypt backups.
- Somebody with this key and the keeper's rights at the store can expire recovery points, and remove
  their packs seven days later, when their Object Locks have ended. So the key is not stored on a
  backup host.
"""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import Damaged
from backup.format import FORMAT
from backup.format.canonical_json import to_json
from backup.format.root_record import PUBLIC_KEY_BYTES, REPOSITORY_BYTES
from backup.format.strict_fields import read_record
from backup.system.durable_files import read_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Keeper:
    """Identity and key of a keeper."""

    repository: bytes
    owner: bytes  # Ed25519 public key of the owner
    key: Ed25519PrivateKey = field(repr=False)

    @staticmethod
    def load(path: Path) -> "Keeper":
        """Read a keeper's file; raise `NotFound` or `Damaged`."""
        data = read_file(
            path,
            f"the keeper's key {path}",
            missing=f"keeper's key {path}: not found. The owner creates the key with"
            " `standfast backup owner set-keeper`.",
        )
        try:
            fields = read_record(data, "keeper", ("repository", "owner", "keeper_key"), str(path))
            return Keeper(
                repository=fields.hexadecimal("repository", REPOSITORY_BYTES),
                owner=fields.hexadecimal("owner", PUBLIC_KEY_BYTES),
                key=Ed25519PrivateKey.from_private_bytes(fields.hexadecimal("keeper_key", 32)),
            )
        except Damaged:
            raise Damaged(
                f"{path}: not a valid keeper's key. Restore it from a copy, or let the owner "
                "retire this keeper and set another keeper."
            ) from None

    def to_bytes(self) -> bytes:
        """Return the content of the keeper's file."""
        value = {
            "format": FORMAT,
            "kind": "keeper",
            "repository": self.repository.hex(),
            "owner": self.owner.hex(),
            "keeper_key": self.key.private_bytes_raw().hex(),
        }
        return to_json(value) + b"\n"

    @property
    def public_key(self) -> bytes:
        """Return the public key, which the owner's root record must name."""
        return self.key.public_key().public_bytes_raw()
