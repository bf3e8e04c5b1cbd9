"""OAuth access tokens for the connector itself, without a browser.

Three ways are supported: a client secret (RFC 6749 4.4), a JWT for the client (RFC 7523 2.2), and a
JWT for a service account (RFC 7523 2.1).

Rules
- A JWT is signed for one token request, with a short lifetime and its own id.
- The error text of a token end point is not repeated: it may quote values that the client sent.
- An invalid key is a configuration error, reported before anything is sent.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.jwk import RSAKey

from standfast.adapters.clients.credentials import IssuedCredential
from standfast.adapters.clients.http_status import status_error
from standfast.errors import ConfigurationError, Unavailable
from standfast.http_client import HttpClient, fits_a_header
from standfast.records import Now
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import Deadline

_CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_JWT_SECONDS = 300
_USUAL_SECONDS = 300.0  # lifetime if the end point does not state one


class JwtSigner:
    """Signer with one RSA key (RS256); `pem` has no passphrase."""

    def __init__(self, directory: str, pem: str, *, key_id: str | None = None) -> None:
        try:
            key = RSAKey.import_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if key is None or not key.is_private:
            raise ConfigurationError(
                f"private key of directory {directory!r}: not an RSA key in PEM. Check its line "
                "breaks."
            )
        self._key = key
        self._header = {"alg": "RS256", **({"kid": key_id} if key_id else {})}

    def sign(self, claims: Mapping[str, str], audience: str, now: datetime) -> str:
        """Return a JWT that is valid for five minutes from now."""
        issued_at = int(now.timestamp())
        body = {
            **claims,
            "aud": audience,
            "iat": issued_at,
            "exp": issued_at + _JWT_SECONDS,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(self._header, body, self._key)


class TokenEndpoint:
    """The end point that issues tokens."""

    def __init__(self, http: HttpClient, url: str, clock: Now) -> None:
        self._http = http
        self._url = url
        self._clock = clock

    def by_secret(
        self, client_id: str, client_secret: str, scope: str
    ) -> Callable[[Deadline], IssuedCredential]:
        """Return a function that requests a token with a client secret."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scope,
        }
        return lambda deadline: self._ask(form, deadline)

    def by_client_key(
        self, client_id: str, signer: JwtSigner, scope: str
    ) -> Callable[[Deadline], IssuedCredential]:
        """Return a function that requests a token with a JWT of the client."""

        def grant(deadline: Deadline) -> IssuedCredential:
            claims = {"iss": client_id, "sub": client_id}
            form = {
                "grant_type": "client_credentials",
                "scope": scope,
                "client_assertion_type": _CLIENT_ASSERTION,
                "client_assertion": signer.sign(claims, self._url, self._clock()),
            }
            return self._ask(form, deadline)

        return grant

    def by_service_account(
        self, account: str, subject: str, signer: JwtSigner, scope: str
    ) -> Callable[[Deadline], IssuedCredential]:
        """Return a function that requests a token of a service account.

        The service account acts for `subject`.
        """

        def grant(deadline: Deadline) -> IssuedCredential:
            claims = {"iss": account, "sub": subject, "scope": scope}
            form = {
                "grant_type": _JWT_BEARER,
                "assertion": signer.sign(claims, self._url, self._clock()),
            }
            return self._ask(form, deadline)

        return grant

    def _ask(self, form: Mapping[str, str], deadline: Deadline) -> IssuedCredential:
        answer = self._http.exchange(
            "POST",
            self._url,
            deadline,
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
            content=urlencode(form).encode(),
        )
        if answer.status in (400, 401, 403):
            raise Unavailable(
                "the provider refuses a token for the configured client. Check its id, its secret "
                "or key, its rights, and the clock of this machine."
            )
        if not answer.is_success:
            raise status_error(answer)
        try:
            body = answer.json()
        except (ValueError, RecursionError):
            body = None
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not fits_a_header(token):
            raise Unavailable(
                "the provider's token end point sent no token. Check its address.",
                retry_after_seconds=RETRY_SECONDS,
            )
        seconds = body.get("expires_in") if isinstance(body, dict) else None
        return IssuedCredential(
            headers={"Authorization": f"Bearer {token}"},
            seconds=float(seconds) if isinstance(seconds, int | float) else _USUAL_SECONDS,
        )
