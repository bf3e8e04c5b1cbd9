"""Decryption challenge: proof that a custodian can decrypt, and agrees.

A custodian is a person whose age key can decrypt backups. An age key cannot sign, so the custodian
decrypts a challenge instead.

- A challenge is a secret number (a nonce), encrypted to one custodian. The encrypted content also
  has the kind of the document that contains the challenge, and the text to which the custodian
  agrees. Only the SHA-256 of the number is public.
- A person that returns the number has decrypted the challenge, and so also the text.
- The number is returned only if the decrypted content has the expected kind and text. So nobody can
  make a custodian decrypt other content by placing it in a document.
- The program that makes a challenge knows the number. This program forgets it immediately. But a
  modified program could keep the number and agree in place of the custodian.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pyrage

from backup.errors import Damaged, UsageError, WrongKey
from backup.format.age_header import has_short_header
from backup.format.canonical_json import from_json, to_json
from backup.format.strict_fields import Fields
from backup.ownership.custodian_public_key import Custodian, parse_custodian, wrap
from backup.trust.key_files import Identity

_NONCE_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenge:
    """The encrypted number that one custodian must decrypt."""

    custodian: Custodian
    sha256: str  # of the number
    sealed: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedChallenge:
    """A custodian's decrypted challenge."""

    custodian: Custodian
    nonce: bytes = field(repr=False)


def new_challenge(
    recipient: Custodian, *, kind: str, text: str, random: Callable[[int], bytes]
) -> Challenge:
    """Create a challenge for a custodian, with a document kind and a text."""
    nonce = random(_NONCE_BYTES)
    plain = to_json({"kind": kind, "nonce": nonce.hex(), "text": text})
    return Challenge(
        custodian=recipient,
        sha256=hashlib.sha256(nonce).hexdigest(),
        sealed=wrap(plain, (recipient,)),
    )


def decrypt_challenges(
    challenges: Iterable[Challenge], identity: Identity, *, kind: str, text: str
) -> tuple[OpenedChallenge, ...]:
    """Decrypt the challenges that are encrypted to an identity.

    Raise `WrongKey` if no challenge is for this identity, or `Damaged` if a challenge was made for
    another document.
    """
    opened = []
    for challenge in challenges:
        if not has_short_header(challenge.sealed):
            continue
        try:
            plain = pyrage.decrypt(challenge.sealed, list(identity.keys))
        except pyrage.DecryptError:
            continue
        nonce = _nonce(plain, kind, text)
        if not is_answered(challenge, nonce):
            raise Damaged("challenge: its number does not match its hash. Get the document again.")
        opened.append(OpenedChallenge(custodian=challenge.custodian, nonce=nonce))
    if not opened:
        raise WrongKey(
            "document: nothing in it is encrypted to this identity. Use the identity of a"
            " custodian that it names."
        )
    return tuple(opened)


def is_answered(challenge: Challenge, nonce: bytes) -> bool:
    """Return whether a nonce is the secret number of a challenge."""
    return hmac.compare_digest(hashlib.sha256(nonce).hexdigest(), challenge.sha256)


def challenges_to_json(challenges: Iterable[Challenge]) -> list[dict[str, str]]:
    """Encode challenges for a document."""
    return [
        {
            "custodian": challenge.custodian.text,
            "sha256": challenge.sha256,
            "sealed": base64.b64encode(challenge.sealed).decode(),
        }
        for challenge in challenges
    ]


def challenges_from_json(values: Iterable[object], where: str) -> tuple[Challenge, ...]:
    """Decode the challenges of a document."""
    challenges = []
    for value in values:
        fields = Fields(value, where, ("custodian", "sha256", "sealed"))
        try:
            challenges.append(
                Challenge(
                    custodian=parse_custodian(fields.text("custodian")),
                    sha256=fields.hexadecimal("sha256", 32).hex(),
                    sealed=fields.base64("sealed"),
                )
            )
        except (UsageError, Damaged):
            raise Damaged(
                f"{where}: it contains an invalid challenge. Get the file again."
            ) from None
    return tuple(challenges)


def _nonce(plain: bytes, kind: str, text: str) -> bytes:
    where = "the challenge"
    try:
        fields = Fields(from_json(plain, where), where, ("kind", "nonce", "text"))
        nonce = fields.hexadecimal("nonce", _NONCE_BYTES)
        is_valid = (fields.text("kind"), fields.text("text")) == (kind, text)
    except Damaged:
        is_valid = False
    if not is_valid:
        raise Damaged(
            "document: it contains encrypted content of another document, which is not shown. Ask"
            " the owner who inserted it."
        )
    return nonce
