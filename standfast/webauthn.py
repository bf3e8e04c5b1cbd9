"""Passkeys (WebAuthn): origins, challenges, checks of a browser's answers.

This module checks the answer of a browser. The ledger (the database of incidents and approvals)
records the person of each passkey, and `standfast.console` decides when a passkey is requested.

Rules
- The challenge is the SHA-256 of the bytes to be signed (`challenge_for`).
- A passkey signs for the origin of its console only, and only after its device verified the holder
  by finger, face or PIN.
- WebAuthn attestation is not checked: the holder registers the device with the passphrase.
  Signature counters are not compared: passkeys that are synchronized between devices have none.
- An answer is untrusted input: if fido2 finds any fault in it, the answer is refused with one
  message, and is not stored.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import idna
from cryptography.exceptions import InvalidSignature
from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    Aaguid,
    AttestedCredentialData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
)

from standfast.errors import ApprovalRefused

ES256, RS256 = ALGORITHMS = (-7, -257)  # algorithms; every device supports one of them

_RSA_BITS, _RSA_EXPONENT = range(2_048, 4_097), 65_537  # smaller keys are weak, larger ones slow
_LONGEST = 8_192  # characters of one answer


@dataclass(frozen=True, kw_only=True)
class NewPasskey:
    """The public half of a new passkey."""

    credential: str  # id of the passkey on its device; base64url
    public_key: str  # COSE_Key (RFC 9052), base64url


def origin_of(address: str) -> str:
    """Return the origin of a web address as browsers write it."""
    parts = urlsplit(address)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, usual) else ""
    host = parts.hostname or ""
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode()
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def site_of(origin: str) -> str:
    """Return the RP ID of an origin, which is its host."""
    return urlsplit(origin).hostname or ""


def challenge_for(signed_bytes: bytes) -> bytes:
    """Return the challenge under which a passkey signs these bytes."""
    return hashlib.sha256(signed_bytes).digest()


def encoded(content: bytes) -> str:
    """Encode bytes as base64url without padding, as browsers do."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Decode base64url without padding; ValueError for any other text."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def read_registration(browser_answer: str, *, challenge: bytes, origin: str) -> NewPasskey:
    """Verify the answer for a new passkey and return its public half.

    Raises ApprovalRefused if the answer is for another challenge, or if the kind of the key is not
    supported.
    """
    given = _read(browser_answer, ("attestation", "client"))
    with _refusing_faults():
        _refuse_other_site(given["client"], origin)
        answer = {"clientDataJSON": given["client"], "attestationObject": given["attestation"]}
        device = _server(origin).register_complete(
            _state(challenge), {"rawId": b"", "response": answer}
        )
        made = cast("AttestedCredentialData", device.credential_data)
        if not made.credential_id or not _is_usable(made.public_key):
            raise ApprovalRefused(
                "passkey: its algorithm is not supported here. Use another device."
            )
        with suppress(InvalidSignature):  # other errors show that it is not a valid key
            made.public_key.verify(b"", b"")
        return NewPasskey(
            credential=encoded(made.credential_id), public_key=encoded(cbor.encode(made.public_key))
        )


def credential_of(browser_answer: str) -> str:
    """Return the passkey id in an answer; ApprovalRefused if it is invalid."""
    return encoded(_read(browser_answer, _ASSERTION)["id"])


def origin_of_signing(browser_answer: str) -> str:
    """Return the unverified origin of an answer; ApprovalRefused if invalid."""
    with _refusing_faults():
        return str(CollectedClientData(_read(browser_answer, _ASSERTION)["client"]).origin)


def check(browser_answer: str, *, public_key: str, challenge: bytes, origin: str) -> None:
    """Verify that the passkey of `public_key` signed `challenge` at `origin`.

    Raises ApprovalRefused otherwise.
    """
    given = _read(browser_answer, _ASSERTION)
    with _refusing_faults():
        _refuse_other_site(given["client"], origin)
        key = CoseKey.parse(cast("Mapping[int, Any]", cbor.decode(decoded(public_key))))
        passkey = AttestedCredentialData.create(Aaguid.NONE, given["id"], key)
        answer = {
            "clientDataJSON": given["client"],
            "authenticatorData": given["device"],
            "signature": given["signature"],
        }
        _server(origin).authenticate_complete(
            _state(challenge), [passkey], {"rawId": given["id"], "response": answer}
        )


_ASSERTION = ("client", "device", "id", "signature")


def _read(browser_answer: str, names: Sequence[str]) -> dict[str, bytes]:
    """Read the base64url fields of an answer."""
    with _refusing_faults():
        given = json.loads(browser_answer if len(browser_answer) <= _LONGEST else "")
        found = {name: decoded(given[name]) for name in names}
        if given.keys() != found.keys():
            raise ValueError
        return found


def _server(origin: str) -> Fido2Server:
    site = PublicKeyCredentialRpEntity(name="Standfast", id=site_of(origin))
    return Fido2Server(site, verify_origin=lambda asked: asked == origin)


def _state(challenge: bytes) -> dict[str, str]:
    return {"challenge": encoded(challenge), "user_verification": "required"}


def _is_usable(key: CoseKey) -> bool:
    if key.ALGORITHM != RS256:
        return key.ALGORITHM == ES256
    modulus, exponent = (int.from_bytes(key[name]) for name in (-1, -2))
    return modulus.bit_length() in _RSA_BITS and exponent == _RSA_EXPONENT


def _refuse_other_site(client: bytes, origin: str) -> None:
    """Refuse an answer that was requested at another origin, or in a frame."""
    data = CollectedClientData(client)
    if data.origin != origin or data.cross_origin is not False:
        raise ApprovalRefused(
            f"passkey: requested by another site than {origin}. Nothing was done."
        )


@contextmanager
def _refusing_faults() -> Iterator[None]:
    """Refuse an answer in which fido2 finds any fault.

    Any exception is a fault, because untrusted input can fail in many ways.
    """
    try:
        yield
    except ApprovalRefused:
        raise
    except Exception as error:
        raise ApprovalRefused(
            "passkey: its answer does not match the request. Try it again, and confirm with "
            "finger, face or PIN."
        ) from error
