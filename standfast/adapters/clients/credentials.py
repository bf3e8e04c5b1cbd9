"""Credentials that an adapter sends: permanent or renewed.

All threads share one renewed credential, which a token end point (`oauth_client`) or a sign-in
issues.

Rules
- A credential is renewed shortly before it expires, and after the provider refused it. If another
  thread has renewed it meanwhile, the renewal is not repeated.
- Credentials are only in memory, and the `repr` of an object does not contain them.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from standfast.http_client import Answer
from standfast.time_limit import Deadline

_EARLY_SECONDS = 60.0  # a token must not expire during a request


@dataclass(frozen=True, kw_only=True)
class IssuedCredential:
    """A credential as headers, with its lifetime from now."""

    headers: Mapping[str, str] = field(repr=False)
    seconds: float


class Credential(ABC):
    """Base class of the credential in each request of `HttpConnector`."""

    @abstractmethod
    def headers(self, deadline: Deadline) -> Mapping[str, str]:
        """Return the headers; raise `Unavailable` if none can be obtained now."""

    @abstractmethod
    def is_renewed_after(self, refused: Mapping[str, str]) -> bool:
        """Discard refused headers; return whether a repeated request may help."""


def send_authorized(
    credential: Credential, deadline: Deadline, send: Callable[[Mapping[str, str]], Answer]
) -> Answer:
    """Send a request; after an expired credential, renew it and send again."""
    headers = credential.headers(deadline)
    answer = send(headers)
    if answer.status == 401 and credential.is_renewed_after(headers):
        answer = send(credential.headers(deadline))
    return answer


class PermanentCredential(Credential):
    """A credential that does not expire."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def headers(self, deadline: Deadline) -> Mapping[str, str]:
        return self._headers

    def is_renewed_after(self, refused: Mapping[str, str]) -> bool:
        return False


class RenewedCredential(Credential):
    """A short-lived credential; `grant` renews it or raises `Unavailable`."""

    def __init__(
        self,
        grant: Callable[[Deadline], IssuedCredential],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grant = grant
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._granted: IssuedCredential | None = None
        self._ends_at = 0.0

    def headers(self, deadline: Deadline) -> Mapping[str, str]:
        with self._guard:
            if self._granted is None or self._monotonic() >= self._ends_at:
                granted = self._grant(deadline)
                early = min(_EARLY_SECONDS, granted.seconds / 2)
                self._ends_at = self._monotonic() + granted.seconds - early
                self._granted = granted
            return self._granted.headers

    def is_renewed_after(self, refused: Mapping[str, str]) -> bool:
        with self._guard:
            if self._granted is not None and self._granted.headers is refused:
                self._granted = None
        return True
