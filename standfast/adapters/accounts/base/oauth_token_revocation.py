"""Ending and probing the OAuth tokens of a holder, for directories that hand them out.

It owns RFC 7009 revocation and the probe. Which tokens a holder has is told by the order, in
`details["tokens"]`: a list of strings from the application's session store or from the evidence.

Rules
- Revocation is idempotent, and a server answers 200 for a token that it does not know (RFC 7009
  2.2): "revoked" is what it says, and only a probe shows it.
- A server lets only the client that a token was issued to revoke it (RFC 7009 2.1).
- Only 401 turns a token away. 403 may mean a good token with too narrow a scope (RFC 6750 3.1).
- A probe counts only when its control token is let in at the same moment: otherwise a broken probe
  would look like a closed door.
- Every token is tried, whatever became of the one before.
"""

import base64
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote_plus, urlencode

from standfast.config.sections.identity_providers import ScimProbeConfig, ScimRevocationConfig
from standfast.http_client import Answer, Deadline, HttpClient, NoAnswer, NotSent, fits_a_header
from standfast.records import EffectState, Order, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.secrets import Reveal

_GRAVEST_FIRST = (
    EffectState.UNKNOWN,
    EffectState.FAILED,
    EffectState.REFUSED,
    EffectState.DONE,
)


@dataclass(frozen=True, kw_only=True)
class TokenRevocation:
    """A token revocation end point and the client that the tokens were issued to."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TokenProbe:
    """A resource that lets a good token in, and a token that must be let in."""

    url: str
    control_token: str = field(repr=False)


def revocation_of(settings: ScimRevocationConfig | None, reveal: Reveal) -> TokenRevocation | None:
    """Return how tokens are ended, where that is configured."""
    if settings is None:
        return None
    return TokenRevocation(
        url=settings.url,
        client_id=settings.client_id,
        client_secret=reveal(settings.client_secret),
    )


def probe_of(settings: ScimProbeConfig | None, reveal: Reveal) -> TokenProbe | None:
    """Return where a token must be refused, where that is configured."""
    if settings is None:
        return None
    return TokenProbe(url=settings.url, control_token=reveal(settings.control_token))


class Door(Enum):
    """How a probe found the door."""

    CLOSED = "closed"  # every token was turned away
    OPEN = "open"  # one was let in
    UNCLEAR = "unclear"  # the probe shows nothing: no tokens, or the control token fails


def known_tokens(order: Order) -> tuple[str, ...]:
    """Give the holder's tokens that the order names, without empty ones."""
    tokens = order.details.get("tokens")
    if not isinstance(tokens, list | tuple):
        return ()
    return tuple(token for token in tokens if isinstance(token, str) and token)


def revoke_tokens(
    http: HttpClient, revocation: TokenRevocation, order: Order, deadline: Deadline
) -> Result:
    """Revoke every token that the order names; the gravest outcome is the result."""
    results = [
        _revoke(http, revocation, order.target, token, deadline) for token in known_tokens(order)
    ]
    return gravest(results)


def gravest(results: list[Result]) -> Result:
    """Give the result that says most about what is still to do; raise ValueError without any."""
    return min(results, key=lambda result: _GRAVEST_FIRST.index(result.state))


def probe_tokens(http: HttpClient, probe: TokenProbe, order: Order, deadline: Deadline) -> Door:
    """Try the holder's tokens at the probe; raise `Unavailable` when it does not answer."""
    tokens = known_tokens(order)
    # What no header can carry is turned away everywhere, so it shows nothing.
    if not tokens or not all(fits_a_header(token) for token in tokens):
        return Door.UNCLEAR
    if not _knock(http, probe.url, probe.control_token, deadline).is_success:
        return Door.UNCLEAR
    answers = [_knock(http, probe.url, token, deadline) for token in tokens]
    if any(answer.is_success for answer in answers):
        return Door.OPEN
    if all(answer.status == 401 for answer in answers):
        return Door.CLOSED
    return Door.UNCLEAR


def _knock(http: HttpClient, url: str, token: str, deadline: Deadline) -> Answer:
    return http.exchange("GET", url, deadline, headers={"Authorization": f"Bearer {token}"})


def _revoke(
    http: HttpClient, revocation: TokenRevocation, target: str, token: str, deadline: Deadline
) -> Result:
    try:
        answer = http.exchange(
            "POST",
            revocation.url,
            deadline,
            headers={
                "Authorization": _basic(revocation),
                "Content-Type": "application/x-www-form-urlencoded",
            },
            content=urlencode({"token": token}).encode(),
        )
    except NotSent as error:
        return Result(
            target=target,
            state=EffectState.FAILED,
            reason=f"the token revocation end point was not reached: {error}",
            retry_after_seconds=error.retry_after_seconds,
        )
    except NoAnswer as error:
        return Result(
            target=target,
            state=EffectState.UNKNOWN,
            reason=f"the token revocation end point: {error}",
        )
    return _judged(target, answer)


def _judged(target: str, answer: Answer) -> Result:
    if answer.status == 200:
        return Result(target=target, state=EffectState.DONE)
    if answer.is_busy:
        return Result(
            target=target,
            state=EffectState.FAILED,
            reason="the token revocation end point is busy; try again",
            retry_after_seconds=answer.retry_after_seconds or RETRY_SECONDS,
        )
    if answer.status >= 500:
        return Result(
            target=target,
            state=EffectState.UNKNOWN,
            reason=f"the token revocation end point broke (status {answer.status})",
        )
    if answer.status in (401, 403):
        reason = "the token revocation end point refuses our client; check its id and secret"
    else:
        reason = (
            f"the token was not revoked (status {answer.status}); was it issued to another client?"
        )
    return Result(target=target, state=EffectState.FAILED, reason=reason)


def _basic(revocation: TokenRevocation) -> str:
    # RFC 6749 2.3.1: id and secret are form-encoded before they become a user and a password.
    pair = f"{quote_plus(revocation.client_id)}:{quote_plus(revocation.client_secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
