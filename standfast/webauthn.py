"""What passkeys say (W3C Web Authentication): of a new one, and of one that signs.

Owns reading and checking what a browser hands over. Leaves whose a passkey is to `ledger`, and who
is asked for one to `console`.

Rules
- What is signed is named by the challenge: the SHA-256 of its words (`challenge_for`).
- A passkey signs for the address of its console alone, and only once its holder has shown the
  device that it is they, by finger, face or PIN.
- How a device attests itself is not asked: the passphrase of its holder vouches for it. Nor is its
  counter held against an earlier one: those that are kept in an account elsewhere have none.
- What a browser hands over is anybody's words: whatever is wrong with it is refused in one sentence
  and not stored.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from standfast.errors import ApprovalRefused

if TYPE_CHECKING:
    from fido2.cose import CoseKey
    from fido2.webauthn import AttestedCredentialData, AuthenticatorData

ES256, RS256 = ALGORITHMS = (-7, -257)  # each device that is sold has one of them

_RSA_BITS, _RSA_EXPONENT = range(2_048, 4_097), 65_537  # others are weak, or slow to check
_LONGEST = 8_192  # characters of all that a browser hands over at once
_CREATED, _SIGNED = "webauthn.create", "webauthn.get"


@dataclass(frozen=True, kw_only=True)
class NewPasskey:
    """The public half of a passkey that a device has just made."""

    credential: str  # the name that its device knows it by; base64url
    public_key: str  # COSE_Key (RFC 9052), base64url


def origin_of(address: str) -> str:
    """Give the origin of a web address, as browsers write it: scheme, host, and an unusual port."""
    parts = urlsplit(address)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, usual) else ""
    host = parts.hostname or ""
    if not host.isascii():
        import idna

        host = idna.encode(host, uts46=True).decode()
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def site_of(origin: str) -> str:
    """Give the name under which a device keeps the passkeys of an origin (the RP ID): its host."""
    return urlsplit(origin).hostname or ""


def challenge_for(words: bytes) -> bytes:
    """Give the challenge under which a passkey signs these words."""
    return hashlib.sha256(words).digest()


def encoded(content: bytes) -> str:
    """Write bytes as base64url without padding, as browsers do."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Read it; ValueError when it is none."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def read_registration(said: str, *, challenge: bytes, origin: str) -> NewPasskey:
    """Read what a browser says of a passkey that was made for `challenge` at `origin`.

    ApprovalRefused when it is another's answer, or of a kind that cannot be checked here.
    """
    from cryptography.exceptions import InvalidSignature
    from fido2 import cbor
    from fido2.webauthn import AttestationObject

    given = _read(said, ("attestation", "client"))
    _refuse_other_client(given["client"], _CREATED, challenge, origin)
    try:
        made = AttestationObject(given["attestation"]).auth_data
        credential = cast("AttestedCredentialData", made.credential_data)
        key = credential.public_key
        name, public_key = encoded(credential.credential_id), encoded(cbor.encode(key))
        is_usable = bool(name) and _is_usable(key)
        if is_usable:
            with suppress(InvalidSignature):  # what is no key at all fails otherwise
                _key(public_key).verify(b"", b"")
    except Exception as error:  # a parser of others, on anybody's words: it fails in many ways
        raise _unreadable() from error
    if not is_usable:
        raise ApprovalRefused("the device made a passkey of a kind that cannot be checked here")
    _refuse_other_holder(made, origin)
    return NewPasskey(credential=name, public_key=public_key)


def credential_of(said: str) -> str:
    """Say which passkey claims to have signed; ApprovalRefused when that cannot be read."""
    return encoded(_read(said, _ASSERTION)["id"])


def origin_of_signing(said: str) -> str:
    """Say at which origin a passkey claims to have signed; whether it is so, `check` says.

    ApprovalRefused when that cannot be read.
    """
    client = _read(said, _ASSERTION)["client"]
    try:
        return str(json.loads(client)["origin"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _unreadable() from error


def check(said: str, *, public_key: str, challenge: bytes, origin: str) -> None:
    """ApprovalRefused unless the passkey of `public_key` signed `challenge`, at `origin`."""
    from cryptography.exceptions import InvalidSignature
    from fido2.webauthn import AuthenticatorData

    given = _read(said, _ASSERTION)
    _refuse_other_client(given["client"], _SIGNED, challenge, origin)
    try:
        device = AuthenticatorData(given["device"])
        key = _key(public_key)
    except Exception as error:  # as above
        raise _unreadable() from error
    _refuse_other_holder(device, origin)
    try:
        key.verify(given["device"] + hashlib.sha256(given["client"]).digest(), given["signature"])
    except InvalidSignature:
        raise ApprovalRefused("the signature of the passkey does not verify") from None
    except Exception as error:
        raise _unreadable() from error


_ASSERTION = ("client", "device", "id", "signature")


def _read(said: str, names: Sequence[str]) -> dict[str, bytes]:
    """Read the fields of what a browser handed over, all in base64url."""
    if len(said) > _LONGEST:
        raise _unreadable()
    try:
        given = json.loads(said)
        found = {name: decoded(given[name]) for name in names}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _unreadable() from error
    if given.keys() != found.keys():
        raise _unreadable()
    return found


def _key(public_key: str) -> "CoseKey":
    from fido2 import cbor
    from fido2.cose import CoseKey

    return CoseKey.parse(cast("Mapping[int, Any]", cbor.decode(decoded(public_key))))


def _is_usable(key: "CoseKey") -> bool:
    if key.ALGORITHM != RS256:
        return key.ALGORITHM == ES256
    modulus, exponent = (int.from_bytes(key[name]) for name in (-1, -2))
    return modulus.bit_length() in _RSA_BITS and exponent == _RSA_EXPONENT


def _refuse_other_client(client: bytes, kind: str, challenge: bytes, origin: str) -> None:
    """Refuse what a browser was asked elsewhere, or for something else."""
    try:
        data = json.loads(client)
        asked = (data["type"], decoded(data["challenge"]), data["origin"])
        is_framed = data.get("crossOrigin", False) is not False
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable() from error
    if asked[2] != origin or is_framed:
        raise ApprovalRefused(f"the passkey was asked by another site than {origin}")
    if asked[:2] != (kind, challenge):
        raise ApprovalRefused("the passkey signed something else than what is asked")


def _refuse_other_holder(device: "AuthenticatorData", origin: str) -> None:
    """Refuse the passkey of another site, and one whose device did not see who holds it."""
    if device.rp_id_hash != hashlib.sha256(site_of(origin).encode()).digest():
        raise ApprovalRefused(f"the passkey is not one of {site_of(origin)}")
    if not (device.is_user_present() and device.is_user_verified()):
        raise ApprovalRefused("the device did not ask its holder for a finger, a face or a PIN")


def _unreadable() -> ApprovalRefused:
    return ApprovalRefused("what the browser said of the passkey cannot be read; try it again")
