"""A software device with one passkey that answers as a browser does."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData

from standfast.webauthn import encoded, site_of

SEEN = (
    AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV
)  # the holder touched it, and is verified
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def _made() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(kw_only=True)
class Device:
    """A device; a changed field simulates a false browser or maker."""

    origin: str = "https://standfast.example.com"
    site: str = ""  # by default that of the origin
    flags: AuthenticatorData.FLAG = SEEN
    key: Key = field(default_factory=_made)
    credential: bytes = b"the name of a passkey"
    cose: CoseKey | None = None  # by default that of its key

    def make(self, challenge: bytes, **client: object) -> str:
        """Answer as to `navigator.credentials.create`."""
        named = AttestedCredentialData.create(Aaguid(bytes(16)), self.credential, self.public_key)
        device = AuthenticatorData.create(
            self._site_hash, self.flags | AuthenticatorData.FLAG.AT, 0, named
        )
        return _text(
            client=self._client("webauthn.create", challenge, client),
            attestation=AttestationObject.create("none", device, {}),
        )

    def sign(self, challenge: bytes, **client: object) -> str:
        """Answer as to `navigator.credentials.get`."""
        device = AuthenticatorData.create(self._site_hash, self.flags, 0)
        said = self._client("webauthn.get", challenge, client)
        signed = device + hashlib.sha256(said).digest()
        return _text(
            id=self.credential, client=said, device=device, signature=self._signature(signed)
        )

    @property
    def public_key(self) -> CoseKey:
        if self.cose is not None:
            return self.cose
        kinds: dict[type, Any] = {ec.EllipticCurvePublicKey: ES256, rsa.RSAPublicKey: RS256}
        public = self.key.public_key()
        kind = next((cose for cls, cose in kinds.items() if isinstance(public, cls)), EdDSA)
        found: CoseKey = kind.from_cryptography_key(public)
        return found

    @property
    def public_text(self) -> str:
        return encoded(cbor.encode(self.public_key))

    @property
    def _site_hash(self) -> bytes:
        return hashlib.sha256((self.site or site_of(self.origin)).encode()).digest()

    def _client(self, kind: str, challenge: bytes, other: dict[str, object]) -> bytes:
        said = {"type": kind, "challenge": encoded(challenge), "origin": self.origin}
        return json.dumps({**said, "crossOrigin": False, **other}).encode()

    def _signature(self, signed: bytes) -> bytes:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(signed, ec.ECDSA(SHA256()))
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(signed, PKCS1v15(), SHA256())
        return self.key.sign(signed)


def _text(**parts: bytes) -> str:
    return json.dumps({name: encoded(part) for name, part in parts.items()})
