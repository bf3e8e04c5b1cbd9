"""How a connector shows who it is to a provider: a header that stands, or one that is renewed.

It owns keeping a short-lived credential and renewing it once for all workers. Where one comes from
is told by the connector (`oauth_client.py`, or a sign-in of its own).

Rules
- A credential is renewed a little before it ends, and when the provider turns it away; that one may
  have been renewed by another worker meanwhile, which is seen and not repeated.
- Nothing here is written anywhere; a credential shows in no text.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from standfast.http_client import Deadline

_EARLY_SECONDS = 60.0  # a request under way must not meet the end of its token


@dataclass(frozen=True, kw_only=True)
class IssuedCredential:
    """A credential as headers, and how long it holds from now."""

    headers: Mapping[str, str] = field(repr=False)
    seconds: float


class Credential(ABC):
    """What `HttpConnector` puts into each request."""

    @abstractmethod
    def headers(self, deadline: Deadline) -> Mapping[str, str]:
        """Give the headers; raise `Unavailable` when none can be had now."""

    @abstractmethod
    def is_renewed_after(self, refused: Mapping[str, str]) -> bool:
        """Let go of headers that were turned away; tell whether asking again may help."""


class Standing(Credential):
    """A credential that does not end by itself."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def headers(self, deadline: Deadline) -> Mapping[str, str]:
        return self._headers

    def is_renewed_after(self, refused: Mapping[str, str]) -> bool:
        return False


class RenewedCredential(Credential):
    """A short-lived credential; `grant` gets a new one and may raise `Unavailable`."""

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
