"""Attesting: how a custodian, whose age key cannot sign, shows that he was there and agreed.

- A challenge is a secret number sealed to one custodian, together with the kind of paper that it
  stands in and the text that is agreed to.  Only the SHA-256 of the number is open.
- Whoever brings the number has opened the challenge, and so has had the text before him.
- What comes out when it is opened is given on only if it is exactly such a number with exactly that
  text: nobody can have a custodian open something else by putting it into a paper.
- Limit: who makes a challenge knows the number.  The program forgets it at once; a maker who does
  not could attest in a custodian's place, and is held back by nothing here.
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
from backup.ownership.custodian_public_key import Custodian, custodian, wrap
from backup.trust.key_files import Identity

_NONCE_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenge:
    """What one custodian has to open."""

    custodian: Custodian
    sha256: str  # of the number
    sealed: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A challenge that was opened."""

    custodian: Custodian
    nonce: bytes = field(repr=False)


def challenge(one: Custodian, *, kind: str, text: str, random: Callable[[int], bytes]) -> Challenge:
    """Make a challenge for a custodian to open under a paper of this kind and text."""
    nonce = random(_NONCE_BYTES)
    plain = to_json({"kind": kind, "nonce": nonce.hex(), "text": text})
    return Challenge(
        custodian=one,
        sha256=hashlib.sha256(nonce).hexdigest(),
        sealed=wrap(plain, (one,)),
    )


def decrypt_challenges(
    challenges: Iterable[Challenge], identity: Identity, *, kind: str, text: str
) -> tuple[Opened, ...]:
    """Open what is sealed to this identity; `WrongKey` when nothing is.

    `Damaged` when what comes out was not made for this paper.
    """
    opened = []
    for one in challenges:
        if not has_short_header(one.sealed):
            continue
        try:
            plain = pyrage.decrypt(one.sealed, list(identity.keys))
        except pyrage.DecryptError:
            continue
        nonce = _nonce(plain, kind, text)
        if not is_answered(one, nonce):
            raise Damaged("the challenge holds another number than it says: take the paper again")
        opened.append(Opened(custodian=one.custodian, nonce=nonce))
    if not opened:
        raise WrongKey(
            "nothing in this paper is sealed to this identity: take the identity of a custodian"
            " whom it names"
        )
    return tuple(opened)


def is_answered(one: Challenge, nonce: bytes) -> bool:
    """Whether this is the number that was sealed."""
    return hmac.compare_digest(hashlib.sha256(nonce).hexdigest(), one.sha256)


def challenges_to_json(challenges: Iterable[Challenge]) -> list[dict[str, str]]:
    """Encode challenges for a paper."""
    return [
        {
            "custodian": one.custodian.text,
            "sha256": one.sha256,
            "sealed": base64.b64encode(one.sealed).decode(),
        }
        for one in challenges
    ]


def challenges_from_json(values: Iterable[object], where: str) -> tuple[Challenge, ...]:
    """Decode the challenges of a paper."""
    found = []
    for value in values:
        fields = Fields(value, where, ("custodian", "sha256", "sealed"))
        try:
            found.append(
                Challenge(
                    custodian=custodian(fields.text("custodian")),
                    sha256=fields.hexadecimal("sha256", 32).hex(),
                    sealed=fields.base64("sealed"),
                )
            )
        except (UsageError, Damaged):
            raise Damaged(f"{where} holds a challenge that is none: take the file again") from None
    return tuple(found)


def _nonce(plain: bytes, kind: str, text: str) -> bytes:
    where = "the challenge"
    try:
        fields = Fields(from_json(plain, where), where, ("kind", "nonce", "text"))
        nonce = fields.hexadecimal("nonce", _NONCE_BYTES)
        is_for_this = (fields.text("kind"), fields.text("text")) == (kind, text)
    except Damaged:
        is_for_this = False
    if not is_for_this:
        raise Damaged(
            "what is sealed in this paper was not made for it, and is not given out: somebody put"
            " it there. Ask the owner"
        )
    return nonce
