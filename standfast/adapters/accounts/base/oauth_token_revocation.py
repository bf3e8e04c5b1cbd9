"""Revocation (RFC 7009) and probes of OAuth tokens.

An order (the request to change one account) names the holder's tokens in `details["tokens"]`:
strings from the application's session store or from collected logs. A probe sends tokens of the
holder to a resource that must refuse them, and a control token that the resource must accept. It
also tries the tokens that its configuration names.

Rules
- Revocation is idempotent, and a server answers 200 for an unknown token (RFC 7009 2.2). The answer
  therefore proves nothing; only a probe proves that a token is invalid.
- A server accepts a revocation only from the client that the token was issued to (RFC 7009 2.1).
- Only 401 means that a token is invalid. 403 may mean a valid token with too narrow a scope (RFC
  6750 3.1).
- The result of a probe is valid only if the control token is accepted at the same time. Otherwise a
  broken probe would look like a revoked token.
- Every token is tried, whatever the result for the previous token.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from urllib.parse import quote_plus, urlencode

from standfast.config.sections.accounts import ScimProbeConfig, ScimRevocationConfig
from standfast.errors import StandfastError
from standfast.http_client import Answer, HttpClient, NoAnswer, NotSent, fits_a_header
from standfast.records import EffectState, Order, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.secrets import Reveal
from standfast.time_limit import Deadline

_GRAVEST_FIRST = (EffectState.UNKNOWN, EffectState.FAILED, EffectState.REFUSED, EffectState.DONE)


@dataclass(frozen=True, kw_only=True)
class TokenRevocation:
    """A revocation end point, and the client that the tokens were issued to."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TokenProbe:
    """A resource that accepts valid tokens, and a valid control token."""

    url: str
    control_token: str = field(repr=False)
    # Returns the configured list of tokens: on each line an account and a token.
    listed: Callable[[], str] = field(default=str, repr=False)

    def tokens_of(self, account: str) -> tuple[str, ...]:
        """Return the listed tokens of an account; none if the list cannot be read."""
        try:
            lines = [line.split() for line in self.listed().splitlines()]
        except StandfastError:
            return ()  # the lock is still proven by reading back
        wanted = account.casefold()
        return tuple(line[1] for line in lines if len(line) == 2 and line[0].casefold() == wanted)


def revocation_of(settings: ScimRevocationConfig | None, reveal: Reveal) -> TokenRevocation | None:
    """Return the revocation end point, if it is configured."""
    if settings is None:
        return None
    return TokenRevocation(
        url=settings.url, client_id=settings.client_id, client_secret=reveal(settings.client_secret)
    )


def probe_of(settings: ScimProbeConfig | None, reveal: Reveal) -> TokenProbe | None:
    """Return the probe, if it is configured."""
    if settings is None:
        return None
    listed = str if settings.tokens is None else partial(reveal, settings.tokens)
    return TokenProbe(url=settings.url, control_token=reveal(settings.control_token), listed=listed)


class ProbeResult(Enum):
    """Result of a probe."""

    CLOSED = "closed"  # every token was refused
    OPEN = "open"  # a token was accepted
    UNCLEAR = "unclear"  # no result: no tokens, or the control token was refused


def known_tokens(order: Order) -> tuple[str, ...]:
    """Return the holder's tokens that the order names, without empty ones."""
    tokens = order.details.get("tokens")
    if not isinstance(tokens, list | tuple):
        return ()
    return tuple(token for token in tokens if isinstance(token, str) and token)


def revoke_tokens(
    http: HttpClient, revocation: TokenRevocation, order: Order, deadline: Deadline
) -> Result:
    """Revoke every token of an order; the most severe outcome is the result."""
    results = [
        _revoke(http, revocation, order.target, token, deadline) for token in known_tokens(order)
    ]
    return most_severe(results)


def most_severe(results: list[Result]) -> Result:
    """Return the most severe result; ValueError if there is none."""
    return min(results, key=lambda result: _GRAVEST_FIRST.index(result.state))


def probe_tokens(
    http: HttpClient, probe: TokenProbe, order: Order, deadline: Deadline
) -> ProbeResult:
    """Try the holder's tokens; `Unavailable` if the probe does not answer."""
    tokens = known_tokens(order) or probe.tokens_of(order.target)
    # A token that no HTTP header can contain is always refused, so it proves nothing.
    if not tokens or not all(fits_a_header(token) for token in tokens):
        return ProbeResult.UNCLEAR
    if not _probe_token(http, probe.url, probe.control_token, deadline).is_success:
        return ProbeResult.UNCLEAR
    answers = [_probe_token(http, probe.url, token, deadline) for token in tokens]
    if any(answer.is_success for answer in answers):
        return ProbeResult.OPEN
    if all(answer.status == 401 for answer in answers):
        return ProbeResult.CLOSED
    return ProbeResult.UNCLEAR


def _probe_token(http: HttpClient, url: str, token: str, deadline: Deadline) -> Answer:
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
                "Authorization": _basic_credentials(revocation),
                "Content-Type": "application/x-www-form-urlencoded",
            },
            content=urlencode({"token": token}).encode(),
        )
    except NotSent as error:
        return Result(
            target=target,
            state=EffectState.FAILED,
            reason=f"the token revocation end point cannot be reached: {error}",
            retry_after_seconds=error.retry_after_seconds,
        )
    except NoAnswer as error:
        return Result(
            target=target,
            state=EffectState.UNKNOWN,
            reason=f"the token revocation end point: {error}",
        )
    return _interpret_answer(target, answer)


def _interpret_answer(target: str, answer: Answer) -> Result:
    if answer.status == 200:
        return Result(target=target, state=EffectState.DONE)
    if answer.is_busy:
        return Result(
            target=target,
            state=EffectState.FAILED,
            reason="the token revocation end point is busy",
            retry_after_seconds=answer.retry_after_seconds or RETRY_SECONDS,
        )
    if answer.status >= 500:
        return Result(
            target=target,
            state=EffectState.UNKNOWN,
            reason=f"the token revocation end point failed (status {answer.status})",
        )
    if answer.status in (401, 403):
        reason = (
            "the token revocation end point refuses the configured client. Check its id and secret."
        )
    else:
        reason = (
            f"the token was not revoked (status {answer.status}). It may belong to another client."
        )
    return Result(target=target, state=EffectState.FAILED, reason=reason)


def _basic_credentials(revocation: TokenRevocation) -> str:
    # RFC 6749 2.3.1: id and secret are form-encoded before they become a user and a password.
    pair = f"{quote_plus(revocation.client_id)}:{quote_plus(revocation.client_secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
