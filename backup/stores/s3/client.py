"""S3 client: credentials, time-outs, retries, redirects, error messages.

This module is imported only where S3 is used, because it imports boto3. `stores.s3.store` and
`sources.s3` send the requests.

- Credentials, endpoint, region and certificates come only from the options. Environment variables
  (also those for proxies), files below the home folder and instance roles are ignored.
- Requests are sent only to the configured endpoint. Redirects are not followed.
- Transient errors are retried after a random pause. The upper limit of the pause doubles each time.
  Transient errors are: no connection, no answer, a broken or garbled answer, status 5xx, 429 or
  408, a conflict of two writers, a body that was damaged in transit, and a failed condition that
  was not requested.
- After a signal to end, no request is sent; see `system.network_shutdown`.
- Only `Taken` and the errors of `backup.errors` are raised. A message contains the error code of
  the store, never its text.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from socket import SHUT_RDWR, socket
from threading import Event, Lock, Timer
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, SSLError
from botocore.parsers import ResponseParserError

from backup.errors import BackupError, NotFound, StoreUnavailable, UsageError
from backup.stores.s3 import S3Options
from backup.system.network_shutdown import NETWORK_SHUTDOWN

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 20.0
_MOST_CONNECTIONS = 24  # connections kept for reuse; no command has more threads
_session_guard = Lock()  # sessions are not thread-safe; clients are
# Statuses and codes of transient errors, in addition to 5xx.
_PASSING_STATUS = {408, 409, 412, 429}
_PASSING_CODES = {"BadDigest", "RequestTimeout", "SlowDown", "XAmzContentSHA256Mismatch"}
_NOT_IMPLEMENTED = 501
CONDITION_FAILED = 412
_ROLES = "deploy/s3/README.md has a policy for each role"
_CREDENTIAL_CODES = {
    "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}  # fmt: skip
_OTHER_PLACE_CODES = {
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect",
    "TemporaryRedirect",
}  # fmt: skip
_MISSING_CODES = {"NoSuchKey", "NoSuchVersion"}
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")


class Taken(Exception):
    """The name of a create-only PUT already exists."""


class Garbled(Exception):
    """An answer that is not from S3, but perhaps from a proxy.

    The text, if any, is the reason for this conclusion.
    """


class Calls:
    """An S3 client with retries; safe to use from several threads."""

    def __init__(
        self, options: S3Options, *, pause: Callable[[float], None], jitter: Callable[[], float]
    ) -> None:
        self.client = _client(options)
        self._connections = _Connections(self.client)
        NETWORK_SHUTDOWN.register(self._connections)
        self._bucket = options.bucket
        self._attempts = options.attempts
        self._pause = pause
        self._jitter = jitter

    def __call__(
        self,
        action: str,
        call: Callable[[], T],
        *,
        max_attempts: int | None = None,
        is_conditional: bool = False,
    ) -> T:
        """Call `call` until it succeeds; errors describe it by `action`.

        Pass a low `max_attempts` if a person may be waiting for the result. The default and upper
        limit is the number of attempts in the options. Only a call with `is_conditional` can raise
        `Taken`; for other calls, status 412 is a transient error.

        Raise `StoreUnavailable` if all attempts had transient errors, `UsageError` if the store
        refuses for a permanent reason, `NotFound`, or `Taken`.
        """
        attempts = min(max_attempts or self._attempts, self._attempts)
        attempt = 0
        while True:
            attempt += 1
            try:
                with NETWORK_SHUTDOWN.call(action):
                    return call()
            # boto3 raises ValueError for an invalid number or date in an answer.
            except (BotoCoreError, ClientError, ResponseParserError, ValueError, Garbled) as error:
                meaning = self._translate(action, error, attempts, is_conditional)
                if attempt == attempts or not isinstance(meaning, StoreUnavailable):
                    raise meaning from error
            doubled = _FIRST_PAUSE_SECONDS * 2**attempt
            self._pause(self._jitter() * min(doubled, _LONGEST_PAUSE_SECONDS))

    def _translate(
        self, action: str, error: Exception, attempts: int, is_conditional: bool
    ) -> BackupError | Taken:
        if isinstance(error, ClientError):
            if is_conditional and http_status(error) == CONDITION_FAILED:
                return Taken()
            return self._translate_refusal(action, error, attempts)
        if isinstance(error, SSLError):
            return UsageError(
                f"{action} failed: the store's certificate is not trusted, or it does not speak"
                " TLS. Check the endpoint, or name the authority's certificate in ca_file"
            )
        if isinstance(error, ParamValidationError):
            return UsageError(
                f"{action} failed: {self._bucket!r} is not a valid bucket name. Correct the name"
            )
        problem = "no answer" if isinstance(error, BotoCoreError) else "an answer that is not S3's"
        detail = str(error) if isinstance(error, Garbled) and error.args else type(error).__name__
        return StoreUnavailable(
            f"{action} failed: {problem} ({detail}) in {attempts} attempts."
            " Check the network and the endpoint, then run again"
        )

    def _translate_refusal(self, action: str, error: ClientError, attempts: int) -> BackupError:
        status = http_status(error)
        reported_code = str(error.response.get("Error", {}).get("Code", ""))
        code = reported_code if _CODE.fullmatch(reported_code) else str(status)
        if code == "NoSuchBucket":
            return UsageError(
                f"{action} failed: there is no bucket {self._bucket}. Create it with Object Lock"
                " (deploy/s3/README.md), or correct the name"
            )
        if code in _MISSING_CODES:
            return NotFound(f"{action} failed: it is not in bucket {self._bucket}")
        if code == "RequestTimeTooSkewed":
            return UsageError(
                f"{action} was refused: the clocks of this machine and of the store differ. "
                "Correct the clock of this machine"
            )
        if code in _CREDENTIAL_CODES:
            return UsageError(
                f"{action} was refused ({code}): the store does not accept these credentials. Check"
                " access_key_id, secret_access_key and session_token"
            )
        if code in _OTHER_PLACE_CODES or 300 <= status < 400:
            return UsageError(
                f"{action} was refused ({code}): bucket {self._bucket} has another address, and "
                "redirects are not followed. Set region and endpoint_url to the values of this "
                "bucket"
            )
        if status == 403:
            return UsageError(
                f"{action} was refused ({code}): this identity may not do that in bucket"
                f" {self._bucket}. Use the identity of the right role; {_ROLES}"
            )
        is_transient = status in _PASSING_STATUS or (status >= 500 and status != _NOT_IMPLEMENTED)
        if is_transient or code in _PASSING_CODES:
            return StoreUnavailable(
                f"{action} failed: the store answered {status} {code}, {attempts} times. Run"
                " again later"
            )
        return UsageError(
            f"{action} was refused ({status} {code}): the store does not support what is needed."
            " deploy/s3/README.md lists it"
        )


@contextmanager
def read_timeout(seconds: float, body: Any, action: str) -> Iterator[None]:
    """Limit the total time of reading a body.

    Raise `StoreUnavailable` after this time. The time-out of a socket applies to each single wait.
    So without this limit, a body that arrives in slow small pieces could take forever.
    """
    is_over = Event()

    def give_up() -> None:
        is_over.set()
        with suppress(Exception):  # the read may have ended at this moment
            body._raw_stream.shutdown()  # ends the read of the other thread

    timer = Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    too_slow = StoreUnavailable(
        f"{action} took longer than {seconds:.0f} s. Check the network, then run again"
    )
    try:
        yield
    except Exception as error:
        if is_over.is_set():
            raise too_slow from error
        raise
    finally:
        timer.cancel()
    if is_over.is_set():
        raise too_slow


def http_status(error: ClientError) -> int:
    """Return the HTTP status of an error, or 0 if it has no status."""
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


@cache
def _session() -> boto3.session.Session:
    """Return a session without settings from this machine.

    It is cached because its creation reads megabytes of service descriptions.
    """
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.session.Session(botocore_session=core)


def _client(options: S3Options) -> Any:
    try:
        with _session_guard:
            client = _session().client(
                "s3",
                aws_access_key_id=options.access_key_id,
                aws_secret_access_key=options.secret_access_key,
                aws_session_token=options.session_token,
                region_name=options.region,
                endpoint_url=options.endpoint_url,
                verify=True if options.ca_file is None else str(options.ca_file),
                config=Config(
                    signature_version="s3v4",
                    connect_timeout=options.connect_timeout_seconds,
                    read_timeout=options.read_timeout_seconds,
                    retries={"mode": "standard", "total_max_attempts": 1},
                    max_pool_connections=_MOST_CONNECTIONS,
                    ignore_configured_endpoint_urls=True,
                    proxies={},
                    s3={"addressing_style": "path" if options.endpoint_url else "auto"},
                ),
            )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(
            f"S3 client for bucket {options.bucket}: cannot be created ({type(error).__name__})."
            " Check region and endpoint_url"
        ) from error
    hosts: list[tuple[str, str]] = []  # scheme and host of the first request

    def refuse_redirect(request: Any, **_: object) -> None:
        url = urlsplit(request.url)
        host = (url.scheme, url.netloc)
        if hosts and host != hosts[0]:
            raise UsageError(
                f"bucket {options.bucket} has another address, and redirects to another host are "
                "not followed. Set region and endpoint_url to the values of this bucket"
            )
        hosts[:] = [host]

    client.meta.events.register("before-send.s3", refuse_redirect)
    return client


class _Connections:
    """Record of all connections of a client, which boto3 does not expose.

    With this record, a shutdown can end calls that wait for an answer. The client's own `close`
    closes only unused connections. This class uses internals of boto3 and urllib3. If a release has
    other internals, no connection is recorded, and calls end only by their time-outs.
    """

    def __init__(self, client: Any) -> None:
        self._guard = Lock()
        self._known: WeakSet[Any] = WeakSet()
        with suppress(AttributeError, TypeError):
            manager = client._endpoint.http_session._manager
            pools = manager.pool_classes_by_scheme
            manager.pool_classes_by_scheme = {
                scheme: self._recording_pool(pool) for scheme, pool in pools.items()
            }

    def _recording_pool(self, pool: Any) -> Any:
        note = self._record

        class Recording(pool):  # type: ignore[misc]
            """Connection pool that records its connections."""

            def _new_conn(self, *given: Any, **named: Any) -> Any:
                return note(super()._new_conn(*given, **named))

        return Recording

    def _record(self, connection: Any) -> Any:
        with self._guard, suppress(TypeError):
            self._known.add(connection)
        return connection

    def abort_all(self) -> None:
        with self._guard:
            made = [*self._known]
        for connection in made:
            with suppress(OSError, AttributeError, TypeError):  # it has no open socket
                # Shut down the socket below TLS, because another thread may be using TLS.
                socket.shutdown(connection.sock, SHUT_RDWR)
