"""Okta's API: credential, rate limits, cursor of the next page.

The account connector and the evidence source use this module.

Rules
- Okta reports the time for a retry in `X-Rate-Limit-Reset`, as a point in time, and not in
  `Retry-After`.
"""

import re
from urllib.parse import parse_qs, urlsplit

from standfast.adapters.clients.credentials import (
    Credential,
    PermanentCredential,
    RenewedCredential,
)
from standfast.adapters.clients.http_status import status_error
from standfast.adapters.clients.oauth_client import JwtSigner, TokenEndpoint
from standfast.config.sections.accounts import OktaConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.http_client import Answer, HttpClient, fits_a_header
from standfast.records import Now
from standfast.retry_rules import LONGEST_RETRY_AFTER_SECONDS, RETRY_SECONDS
from standfast.secrets import Reveal

_NEXT = re.compile(r'<([^>]*)>;\s*rel="next"')


def okta_credential(
    directory: str, settings: OktaConfig, reveal: Reveal, http: HttpClient, clock: Now, scope: str
) -> Credential:
    """Return the API token, or the renewed token of a service application."""
    if settings.token is not None:
        token = reveal(settings.token)
        if not fits_a_header(token):
            raise ConfigurationError(
                f"token of directory {directory!r}: not valid in a header. Remove line breaks "
                "and spaces."
            )
        return PermanentCredential({"Authorization": f"SSWS {token}"})
    if settings.client_id is None or settings.private_key is None:
        raise ConfigurationError(
            f"directory {directory!r}: no credential. Set `token`, or `client_id` and "
            "`private_key`."
        )
    signer = JwtSigner(directory, reveal(settings.private_key), key_id=settings.key_id)
    endpoint = TokenEndpoint(http, f"{settings.url.rstrip('/')}/oauth2/v1/token", clock)
    return RenewedCredential(endpoint.by_client_key(settings.client_id, signer, scope))


def okta_status_error(answer: Answer, clock: Now) -> Unavailable:
    """Return the error for an unsuccessful status."""
    reset = answer.headers.get("x-rate-limit-reset", "")
    if answer.status == 429 and reset.isascii() and reset.isdigit():
        seconds = float(reset) - clock().timestamp()
        return Unavailable(
            "the provider is busy",
            retry_after_seconds=min(max(seconds, RETRY_SECONDS), LONGEST_RETRY_AFTER_SECONDS),
        )
    return status_error(answer)


def next_cursor(answer: Answer) -> str:
    """Return the cursor of the next page (RFC 8288); empty if there is none.

    Only the cursor is used, whatever host the link names.
    """
    following = _NEXT.search(answer.headers.get("link", ""))
    cursors = parse_qs(urlsplit(following[1]).query).get("after") if following else None
    return cursors[0] if cursors else ""
