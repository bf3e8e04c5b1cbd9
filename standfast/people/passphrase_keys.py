"""Sign-in: a passphrase becomes a key, the key signs, and only its public half is ever kept.

Rules
- The key is derived with argon2id (RFC 9106, second recommended option: 64 MiB, 3 passes, 4 lanes)
  from the passphrase and a random salt; neither the passphrase nor the key is stored anywhere.
- A passphrase has at least twelve characters: it is guessed offline by who holds the public key.
"""

import secrets
from dataclasses import dataclass

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.errors import ApprovalRefused, UsageError

SHORTEST_PASSPHRASE = 12
_SALT_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What is kept about a passphrase: a salt and the public key, both in hex."""

    public_key: str
    salt: str


def check_new(passphrase: str) -> None:
    """UsageError when a passphrase is too short to guard what can be guessed at offline."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise UsageError(f"a passphrase needs at least {SHORTEST_PASSPHRASE} characters")


def enrol(passphrase: str) -> Credential:
    """Make a credential; UsageError when the passphrase is too short."""
    check_new(passphrase)
    salt = secrets.token_hex(_SALT_BYTES)
    return Credential(public_key=_public(_derive(passphrase, salt)), salt=salt)


def sign_in(name: str, passphrase: str, credential: Credential) -> Ed25519PrivateKey:
    """Give the signing key; ApprovalRefused when the passphrase is not this person's."""
    key = _derive(passphrase, credential.salt)
    if not _is_of(key, credential):
        raise ApprovalRefused(f"that is not the passphrase of {name!r}")
    return key


def is_passphrase_of(passphrase: str, credential: Credential) -> bool:
    """Return whether a credential was made from this passphrase."""
    return _is_of(_derive(passphrase, credential.salt), credential)


def simulate_sign_in(passphrase: str) -> None:
    """Do the work of a sign-in for a name that nobody has, so that it takes as long."""
    _derive(passphrase, "00" * _SALT_BYTES)


def _derive(passphrase: str, salt: str) -> Ed25519PrivateKey:
    seed = hash_secret_raw(
        secret=passphrase.encode(),
        salt=bytes.fromhex(salt),
        time_cost=3,
        memory_cost=65_536,
        parallelism=4,
        hash_len=32,
        type=Type.ID,
    )
    return Ed25519PrivateKey.from_private_bytes(seed)


def _is_of(key: Ed25519PrivateKey, credential: Credential) -> bool:
    return secrets.compare_digest(_public(key), credential.public_key)


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
