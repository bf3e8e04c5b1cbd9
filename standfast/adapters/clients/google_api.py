"""Google's Admin SDK: token of the service account, exhausted quotas.

Rules
- Google reports an exhausted quota with status 429, or with status 403 and a reason.
"""

from standfast.adapters.clients.credentials import RenewedCredential
from standfast.adapters.clients.http_status import status_error
from standfast.adapters.clients.oauth_client import JwtSigner, TokenEndpoint
from standfast.config.sections.accounts import GoogleWorkspaceConfig
from standfast.errors import Unavailable
from standfast.http_client import Answer, HttpClient
from standfast.records import Now
from standfast.retry_rules import RETRY_SECONDS
from standfast.secrets import Reveal

ADMIN_API = "https://admin.googleapis.com"
TOKENS = "https://oauth2.googleapis.com/token"
_TOO_FAST = ("rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded")


def google_credential(
    directory: str,
    settings: GoogleWorkspaceConfig,
    reveal: Reveal,
    http: HttpClient,
    clock: Now,
    scope: str,
    *,
    token_url: str = TOKENS,
) -> RenewedCredential:
    """Return the renewed token of the service account."""
    signer = JwtSigner(directory, reveal(settings.private_key))
    endpoint = TokenEndpoint(http, token_url, clock)
    return RenewedCredential(
        endpoint.by_service_account(settings.service_account, settings.administrator, signer, scope)
    )


def google_status_error(answer: Answer) -> Unavailable:
    """Return the error for an unsuccessful status."""
    if answer.status == 403 and _reason(answer) in _TOO_FAST:
        return Unavailable(
            "the provider is busy", retry_after_seconds=answer.retry_after_seconds or RETRY_SECONDS
        )
    return status_error(answer)


def _reason(answer: Answer) -> str:
    """Return the first reason in a Google error; reasons are fixed words."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return ""
    error = body.get("error") if isinstance(body, dict) else None
    errors = error.get("errors") if isinstance(error, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    return str(first.get("reason")) if isinstance(first, dict) else ""
