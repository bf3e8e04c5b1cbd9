"""HTTP requests with a time limit and an exact outcome.

The client owns the connection pool, the time-outs, the size limit and the parsing of `Retry-After`.
The caller interprets the status.

Rules
- `NotSent` means that no byte of the request left, and none will. `NoAnswer` means that it may have
  arrived. A caller turns the first into FAILED and the second, for a write, into UNKNOWN.
- The limit covers everything: name resolution, connecting, TLS, a server that sends its headers
  slowly. The library limits single reads only, so every request runs in its own thread, which can
  be abandoned, and which is revoked if it has sent nothing yet.
- Redirects are not followed, cookies are not stored, and proxies and netrc files of the environment
  are not used: the configuration alone decides which hosts receive a token.
- Errors contain no URL with parameters, no body and no text of the server.
"""

import json
import ssl
import threading
import time
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

if TYPE_CHECKING:
    import httpx

LARGEST_BODY_BYTES = 16 * 1024 * 1024
_FIRST_BYTE_LEAVES = "send_request_headers.started"  # httpcore's name for it, in every protocol


class NotSent(Unavailable):
    """The request certainly did not reach the other side."""


class NoAnswer(Unavailable):
    """The request may have reached the other side, which did not answer."""


def fits_a_header(token: str) -> bool:
    """Return whether a bearer token is one word of visible ASCII."""
    return token != "" and token.isascii() and token.isprintable() and " " not in token


class Deadline:
    """A moment by which all calls that share it must end."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left_seconds(self) -> float:
        return max(0.0, self._end - time.monotonic())


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
            raise NotSent("no time was left to ask", retry_after_seconds=RETRY_SECONDS)
        request = client.build_request(
            method,
            url,
            headers=dict(headers or {}),
            params=dict(params) if params else None,
            content=content,
            timeout=seconds,
        )
        errand = _Errand(client, request, deadline, self._clock)
        threading.Thread(target=errand.run, name="http-exchange", daemon=True).start()
        return errand.outcome(seconds)

    def close(self) -> None:
        """Close idle connections; the next request opens new ones."""
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close()

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
    """Load the public certificates once: it takes longer than a lock."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


class _Errand:
    """A request in progress; the caller may revoke it while nothing was sent."""

    def __init__(
        self,
        client: "httpx.Client",
        request: "httpx.Request",
        deadline: Deadline,
        clock: Now,
    ) -> None:
        self._client = client
        self._request = request
        self._deadline = deadline
        self._clock = clock
        self._guard = threading.Lock()
        self._is_over = threading.Event()
        self._is_sent = False
        self._is_called_back = False
        self._answer: Answer | None = None
        self._error = ""
        request.extensions = {**request.extensions, "trace": self._trace}

    def run(self) -> None:
        try:
            self._answer = self._ask()
        except Exception as error:
            # The class only: the text may carry the address with its filter, so a person's name.
            self._error = type(error).__name__
        finally:
            self._is_over.set()

    def outcome(self, seconds: float) -> Answer:
        is_over = self._is_over.wait(seconds)
        if is_over and self._answer is not None:
            return self._answer
        why = self._error if is_over else "time-out"
        with self._guard:
            self._is_called_back = True
            is_sent = self._is_sent
        if is_sent:
            raise NoAnswer(
                f"the request was not answered ({why})", retry_after_seconds=RETRY_SECONDS
            )
        raise NotSent(f"no connection was made ({why})", retry_after_seconds=RETRY_SECONDS)

    def _ask(self) -> Answer:
        response = self._client.send(self._request, stream=True)
        try:
            return Answer(
                status=response.status_code,
                body=self._body(response),
                retry_after_seconds=_retry_after(
                    response.headers.get("Retry-After", ""), self._clock()
                ),
                headers=dict(response.headers),
            )
        finally:
            response.close()

    def _body(self, response: "httpx.Response") -> bytes:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > LARGEST_BODY_BYTES:
                return b""
            if self._deadline.left_seconds() == 0.0:
                raise TimeoutError
        return bytes(body)

    def _trace(self, event: str, _: Mapping[str, object]) -> None:
        if not event.endswith(_FIRST_BYTE_LEAVES):
            return
        with self._guard:
            if self._is_called_back:
                raise TimeoutError
            self._is_sent = True


def _retry_after(value: str, now: datetime) -> float | None:
    """Parse `Retry-After` (RFC 9110 10.2.3): seconds or a date.

    None if it is absent or invalid.
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
