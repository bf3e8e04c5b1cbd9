"""JWTs read by another implementation, and the key of the tests."""

from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey


@cache
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def private_pem() -> str:
    return key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def claims_of(token: str, audience: str) -> dict[str, Any] | None:
    """Verify signature, life and audience; return None if one is wrong."""
    public = key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        read = jwt.decode(token, RSAKey.import_key(public), algorithms=["RS256"])
        jwt.JWTClaimsRegistry(
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            jti={"essential": True},
        ).validate(read.claims)
    except (JoseError, ValueError):
        return None
    return dict(read.claims)
