"""Signing keys that are derived from passphrases (argon2id).

Rules
- argon2id (RFC 9106, second recommended option: 64 MiB, 3 passes, 4 lanes) derives the key from the
  passphrase and a random salt. Only the salt and the public key are stored.
- A passphrase has at least twelve characters: an attacker with the public key can guess offline.
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
    """The stored data of a passphrase: salt and public key, both in hex."""

    public_key: str
    salt: str


def check_new(passphrase: str) -> None:
    """Raise UsageError for a passphrase that is too short."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise UsageError(f"passphrase: too short. Use at least {SHORTEST_PASSPHRASE} characters.")


def enrol(passphrase: str) -> Credential:
    """Return a new credential; raise UsageError for a short passphrase."""
    check_new(passphrase)
    salt = secrets.token_hex(_SALT_BYTES)
    return Credential(public_key=_public(_derive(passphrase, salt)), salt=salt)


def sign_in(name: str, passphrase: str, credential: Credential) -> Ed25519PrivateKey:
    """Return the signing key; raise ApprovalRefused for a wrong passphrase."""
    key = _derive(passphrase, credential.salt)
    if not _matches(key, credential):
        raise ApprovalRefused(
            f"sign-in: that is not the passphrase of {name!r}. Correct it, then try again"
        )
    return key


def is_passphrase_of(passphrase: str, credential: Credential) -> bool:
    """Return whether a credential was made from this passphrase."""
    return _matches(_derive(passphrase, credential.salt), credential)


def simulate_sign_in(passphrase: str) -> None:
    """Derive a key for an unknown name, and discard it.

    Otherwise a shorter response time would reveal that the name does not exist.
    """
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


def _matches(key: Ed25519PrivateKey, credential: Credential) -> bool:
    return secrets.compare_digest(_public(key), credential.public_key)


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
