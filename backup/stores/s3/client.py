"""Calls to S3: one client, its time-outs, which errors pass, and what the others mean.

Imported only where S3 is used, since it imports boto3.  What is asked for is `s3.py`'s.

- Credentials, endpoint, region and certificates come from the options and from nowhere else: no
  variable, no file below the home folder, no instance role, no proxy of the environment.
- A request goes to the configured endpoint or not at all; a redirect is not followed.
- What may pass is tried again after a random pause that doubles: no connection, no answer, a broken
  or garbled one, 5xx, 429, 408, a conflict of two writers, a body that was damaged on its way, a
  condition that failed though none was asked for.
- Once the process is told to end nothing is asked for any more; see `ending`.
- Only errors from `backup.errors` come out, and `Taken`.  A message carries the store's error code,
  never its text.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from socket import SHUT_RDWR, socket
from threading import Event, Lock, Timer
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ParamValidationError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from backup.errors import BackupError, NotFound, StoreUnavailable, UsageError
from backup.system.network_shutdown import NETWORK_SHUTDOWN

if TYPE_CHECKING:
    from backup.stores.s3.store import S3Options

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 20.0
_MOST_CONNECTIONS = 24  # that are kept for the next call: as many as any command has threads
_one_at_a_time = Lock()  # sessions, unlike clients, are not for several threads
# Besides 5xx: what a store says of trouble that is over soon.
_PASSING_STATUS = {408, 409, 412, 429}
_PASSING_CODES = {"BadDigest", "RequestTimeout", "SlowDown", "XAmzContentSHA256Mismatch"}
_NOT_IMPLEMENTED = 501
CONDITION_FAILED = 412
_ROLES = "deploy/s3/README.md has a policy for each role"
_CREDENTIALS = {
    "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}  # fmt: skip
_ELSEWHERE = {
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect",
    "TemporaryRedirect",
}  # fmt: skip
_MISSING = {"NoSuchKey", "NoSuchVersion"}
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")


class Taken(Exception):
    """A create-only PUT met an object of that name."""


class Garbled(Exception):
    """An answer came that S3 would not give: something between us and the store speaks.

    A text says what was wrong with it, where a person would want to know.
    """


class Calls:
    """A client that tries again; safe to use from several threads."""

    def __init__(
        self,
        options: "S3Options",
        *,
        pause: Callable[[float], None],
        jitter: Callable[[], float],
    ) -> None:
        self.client = _client(options)
        self._connections = _Connections(self.client)
        NETWORK_SHUTDOWN.will_break(self._connections)
        self._bucket = options.bucket
        self._attempts = options.attempts
        self._pause = pause
        self._jitter = jitter

    def __call__(
        self,
        doing: str,
        call: Callable[[], T],
        *,
        most: int | None = None,
        is_conditional: bool = False,
    ) -> T:
        """Make the call until it is answered; `doing` says what it is for, in errors.

        `most` attempts, where somebody may be waiting; else as many as the options say.
        Only a call that `is_conditional` can be `Taken`; to any other, 412 is no answer.

        `StoreUnavailable` when no attempt was answered, `NotFound` and `Taken` as S3 says it,
        `UsageError` when it refuses for a reason that does not pass.
        """
        attempts = min(most or self._attempts, self._attempts)
        attempt = 0
        while True:
            attempt += 1
            try:
                with NETWORK_SHUTDOWN.call(doing):
                    return call()
            # ValueError: boto3's own, of a number or a date that is none.
            except (BotoCoreError, ClientError, ResponseParserError, ValueError, Garbled) as error:
                meaning = self._meaning(doing, error, attempts, is_conditional)
                if attempt == attempts or not isinstance(meaning, StoreUnavailable):
                    raise meaning from error
            doubled = _FIRST_PAUSE_SECONDS * 2**attempt
            self._pause(self._jitter() * min(doubled, _LONGEST_PAUSE_SECONDS))

    def _meaning(
        self, doing: str, error: Exception, attempts: int, is_conditional: bool
    ) -> BackupError | Taken:
        if isinstance(error, ClientError):
            if is_conditional and status_of(error) == CONDITION_FAILED:
                return Taken()
            return self._refusal(doing, error, attempts)
        if isinstance(error, SSLError):
            return UsageError(
                f"{doing} failed: the certificate of the store is not one to trust, or it does not"
                " speak TLS. Check the endpoint, or name the authority's certificate in ca_file"
            )
        if isinstance(error, ParamValidationError):
            return UsageError(
                f"{doing} failed: no bucket can be called {self._bucket!r}; mend the name"
            )
        what = "no answer" if isinstance(error, BotoCoreError) else "an answer that is not S3's"
        why = str(error) if isinstance(error, Garbled) and error.args else type(error).__name__
        return StoreUnavailable(
            f"{doing} failed: {what} ({why}) in {attempts} attempts."
            " Check the network and the endpoint, then run again"
        )

    def _refusal(self, doing: str, error: ClientError, attempts: int) -> BackupError:
        status = status_of(error)
        told = str(error.response.get("Error", {}).get("Code", ""))
        code = told if _CODE.fullmatch(told) else str(status)
        if code == "NoSuchBucket":
            return UsageError(
                f"{doing} failed: there is no bucket {self._bucket}. Make it, with Object Lock, as"
                " deploy/s3/README.md says, or mend the name"
            )
        if code in _MISSING:
            return NotFound(f"{doing} failed: it is not in bucket {self._bucket}")
        if code == "RequestTimeTooSkewed":
            return UsageError(
                f"{doing} was refused: the clock of this machine is not the store's; set it right"
            )
        if code in _CREDENTIALS:
            return UsageError(
                f"{doing} was refused ({code}): the store does not take these credentials. Check"
                " access_key_id, secret_access_key and session_token"
            )
        if code in _ELSEWHERE or 300 <= status < 400:
            return UsageError(
                f"{doing} was refused ({code}): bucket {self._bucket} is elsewhere, and a redirect"
                " is not followed. Set region and endpoint_url to the bucket's own"
            )
        if status == 403:
            return UsageError(
                f"{doing} was refused ({code}): this identity may not do that in bucket"
                f" {self._bucket}. Use the identity of the right role; {_ROLES}"
            )
        is_passing = status in _PASSING_STATUS or (status >= 500 and status != _NOT_IMPLEMENTED)
        if is_passing or code in _PASSING_CODES:
            return StoreUnavailable(
                f"{doing} failed: the store said {status} {code}, {attempts} times. Run again later"
            )
        return UsageError(
            f"{doing} was refused ({status} {code}): this store does not do what is needed here;"
            " deploy/s3/README.md says what that is"
        )


@contextmanager
def within(seconds: float, body: Any, doing: str) -> Iterator[None]:
    """Read a body in so many seconds; `StoreUnavailable` after that, also when it comes in drops.

    A time-out of the socket is for each wait, and a read of a piece waits as often as it takes.
    """
    is_over = Event()

    def give_up() -> None:
        is_over.set()
        with suppress(Exception):  # it came to its end just now
            body._raw_stream.shutdown()  # the one way to end a read in another thread

    timer = Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    too_slow = StoreUnavailable(
        f"{doing} took longer than {seconds:.0f} s. Check the network, then run again"
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


def status_of(error: ClientError) -> int:
    """The status of an answer that is an error; 0 when it has none."""
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


@cache
def _session() -> boto3.session.Session:
    """Keep one: it reads megabytes of service descriptions, and holds no setting of anybody's."""
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.session.Session(botocore_session=core)


def _client(options: "S3Options") -> Any:
    try:
        with _one_at_a_time:
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
            f"no S3 client can be made for bucket {options.bucket} ({type(error).__name__});"
            " check region and endpoint_url"
        ) from error
    hosts: list[tuple[str, str]] = []  # the one that the first request went to

    def stay_here(request: Any, **_: object) -> None:
        url = urlsplit(request.url)
        host = (url.scheme, url.netloc)
        if hosts and host != hosts[0]:
            raise UsageError(
                f"bucket {options.bucket} is elsewhere, and a redirect to another host is not"
                " followed. Set region and endpoint_url to the bucket's own"
            )
        hosts[:] = [host]

    client.meta.events.register("before-send.s3", stay_here)
    return client


class _Connections:
    """All connections of a client, which boto3 itself does not give away.

    Its `close` shuts only those that nobody uses. So this goes by what boto3 and urllib3 call their
    own; of a release that has it otherwise nothing is noted, and calls end by their time-outs.
    """

    def __init__(self, client: Any) -> None:
        self._guard = Lock()
        self._made: WeakSet[Any] = WeakSet()
        with suppress(AttributeError, TypeError):
            manager = client._endpoint.http_session._manager
            pools = manager.pool_classes_by_scheme
            manager.pool_classes_by_scheme = {
                scheme: self._noting(pool) for scheme, pool in pools.items()
            }

    def _noting(self, pool: Any) -> Any:
        note = self._note

        class Noting(pool):  # type: ignore[misc]
            def _new_conn(self, *given: Any, **named: Any) -> Any:
                return note(super()._new_conn(*given, **named))

        return Noting

    def _note(self, connection: Any) -> Any:
        with self._guard, suppress(TypeError):
            self._made.add(connection)
        return connection

    def abort_all(self) -> None:
        with self._guard:
            made = [*self._made]
        for connection in made:
            with suppress(OSError, AttributeError, TypeError):  # it has no socket just now
                # Below TLS, which another thread may be in the middle of.
                socket.shutdown(connection.sock, SHUT_RDWR)
