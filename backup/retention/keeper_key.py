"""The keeper's key: a file that the owner's ceremony makes, for another machine than the writer's.

- It signs keep records and opens nothing.
- Who holds it and the keeper's identity at the store can let points expire that are not locked any
  more, in two steps and after seven days; so it does not lie on the backup host.
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
    """What a keeper works with."""

    repository: bytes
    owner: bytes  # Ed25519 public key that every root record must be signed with
    key: Ed25519PrivateKey = field(repr=False)

    @staticmethod
    def load(path: Path) -> "Keeper":
        """Read a keeper's file; `NotFound` when there is none, `Damaged` when it is bad."""
        data = read_file(
            path,
            f"the keeper's key {path}",
            missing=f"there is no keeper's key {path}; the owner makes one with"
            " `standfast backup owner set-keeper`",
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
                f"{path} does not hold a keeper's key as it was made: bring it back from a copy, or"
                " let the owner retire this keeper and grant another"
            ) from None

    def to_bytes(self) -> bytes:
        """The content of the keeper's file."""
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
        """What the root record must name among its keepers."""
        return self.key.public_key().public_bytes_raw()
