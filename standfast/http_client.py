"""HTTP requests with limits of time and size, and an exact outcome.

The client owns the connection pool, the time-outs, the size limit and the parsing of `Retry-After`.
The caller interprets the status.

Rules
- `NotSent` means that no byte of the request was sent, or will be sent. `NoAnswer` means that the
  request may have arrived. A caller records `NotSent` as a failure. After `NoAnswer`, it records
  the outcome of a write as unknown.
- The time limit covers the whole request: name resolution, connecting, TLS, and a server that sends
  its headers slowly. httpx limits only single reads; therefore `time_limit` bounds each request.
- Redirects are not followed, cookies are not stored, and proxies and netrc files of the environment
  are not used: the configuration alone decides which hosts receive a token.
- Errors contain no URL with parameters, no body and no text of the server.
"""

import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING

from standfast.errors import Unavailable
from standfast.records import Now
from standfast.retry_rules import LONGEST_RETRY_AFTER_SECONDS, RETRY_SECONDS
from standfast.server_tls import verified
from standfast.time_limit import BoundedCall, Deadline, within

if TYPE_CHECKING:
    import httpx

LARGEST_BODY_BYTES = 16 * 1024 * 1024
_FIRST_BYTE_LEAVES = (
    "send_request_headers.started"  # httpcore's name of this event, for every HTTP version
)


class NotSent(Unavailable):
    """The request certainly did not reach the other side."""


class NoAnswer(Unavailable):
    """The request may have reached the other side, which did not answer."""


def fits_a_header(token: str) -> bool:
    """Return whether a bearer token is one word of visible ASCII."""
    return token != "" and token.isascii() and token.isprintable() and " " not in token


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer; `body` is empty if it exceeded the size limit."""

    status: int
    body: bytes = b""
    retry_after_seconds: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # names in lower case

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_busy(self) -> bool:
        """Return whether the other side refused the request temporarily."""
        return self.status in (429, 503)

    def json(self) -> object:
        """Parse the body as JSON; ValueError if it is invalid."""
        return json.loads(self.body)


class HttpClient:
    """A connection pool for one server; safe for many threads."""

    def __init__(
        self,
        *,
        verify_tls: bool = True,
        ca_file: Path | None = None,
        workers: int = 16,
        clock: Now = lambda: datetime.now(UTC),
    ) -> None:
        self._verify_tls = verify_tls
        self._ca_file = ca_file
        self._workers = workers
        self._clock = clock
        self._guard = threading.Lock()
        self._client: httpx.Client | None = None

    def exchange(
        self,
        method: str,
        url: str,
        deadline: Deadline,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer:
        """Send a request and return its answer, whatever the status.

        Raises `NotSent` or `NoAnswer` at the deadline or if the connection fails, and
        `ConfigurationError` if the certificate file cannot be used.
        """
        client = self._open()
        seconds = deadline.left_seconds()
        if seconds == 0.0:
            raise NotSent("no time was left for the request", retry_after_seconds=RETRY_SECONDS)
        request = client.build_request(
            method,
            url,
            headers=dict(headers or {}),
            params=dict(params) if params else None,
            content=content,
            timeout=seconds,
        )
        call = BoundedCall(deadline)

        def note_first_byte(event: str, _: Mapping[str, object]) -> None:
            if event.endswith(_FIRST_BYTE_LEAVES):
                call.begin()

        request.extensions = {**request.extensions, "trace": note_first_byte}
        try:
            return within(seconds, lambda: self._ask(client, request, deadline))
        except Exception as error:
            # Use only the class: the error's text may contain the URL, whose query may name a
            # person.
            why = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
        if call.call_back():
            raise NotSent(f"no connection was made ({why})", retry_after_seconds=RETRY_SECONDS)
        raise NoAnswer(f"the request was not answered ({why})", retry_after_seconds=RETRY_SECONDS)

    def close(self) -> None:
        """Close idle connections; the next request opens new ones."""
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ask(self, client: "httpx.Client", request: "httpx.Request", deadline: Deadline) -> Answer:
        response = client.send(request, stream=True)
        try:
            return Answer(
                status=response.status_code,
                body=_body(response, deadline),
                retry_after_seconds=_retry_after(
                    response.headers.get("Retry-After", ""), self._clock()
                ),
                headers=dict(response.headers),
            )
        finally:
            response.close()

    def _open(self) -> "httpx.Client":
        import httpx

        with self._guard:
            if self._client is None:
                self._client = httpx.Client(
                    verify=self._tls(),
                    trust_env=False,
                    follow_redirects=False,
                    limits=httpx.Limits(
                        max_connections=self._workers, max_keepalive_connections=self._workers
                    ),
                    headers={"User-Agent": "standfast"},
                )
                self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
            return self._client

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._verify_tls:
            return False
        if self._ca_file is None:
            return _public_authorities()
        return verified(self._ca_file)


@cache
def _public_authorities() -> ssl.SSLContext:
    """Load the public certificates once, because loading takes long."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


def _body(response: "httpx.Response", deadline: Deadline) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            return b""
        if deadline.left_seconds() == 0.0:
            raise TimeoutError
    return bytes(body)


def _retry_after(value: str, now: datetime) -> float | None:
    """Parse `Retry-After` (RFC 9110 10.2.3): seconds or a date.

    Return None if the header is absent or invalid.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)
