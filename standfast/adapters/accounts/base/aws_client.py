"""Calls to one AWS service, each with a time limit and an exact outcome.

The client owns the SDK, its time-outs, and the meaning of AWS's error codes. The connector decides
which operations are called, and what they mean for an account.

Rules
- The SDK retries nothing: the ledger (the database of this installation) counts the attempts, and
  `retry_rules` decides about retries.
- The SDK's time-outs limit only single socket reads, so `time_limit` bounds every call.
- A change is `OutcomeUnknown` if it was sent and not answered, or if AWS answered with a server
  error. A change that AWS refuses permanently is `ProviderRefused`. A change that certainly did not
  happen is `Unavailable`.
- Errors contain at most AWS's error code and never its message, which contains account names.
"""

import threading
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.per_account_connector import OutcomeUnknown, ProviderRefused
from standfast.adapters.clients.aws_api import AWS_BUSY, AWS_REFUSED
from standfast.config.sections.accounts import AwsConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.retry_rules import LONGEST_RETRY_AFTER_SECONDS, RETRY_SECONDS
from standfast.time_limit import BoundedCall, Deadline, within

AwsAnswer: TypeAlias = Mapping[str, Any]  # the parsed answer, with AWS's own field names

# Codes that a retry may resolve: a concurrent change, or a change that has not propagated yet.
_IN_THE_WAY = frozenset(
    {
        "ConcurrentModification",
        "ConcurrentModificationException",
        "EntityTemporarilyUnmodifiable",
        "ResourceConflictException",
    }
)


class AwsClient:
    """Client of one service; safe for many threads."""

    def __init__(self, service: str, settings: AwsConfig, context: BuildContext) -> None:
        self._service = service
        self._settings = settings
        self._secret = context.reveal_optional(settings.secret_access_key)
        self._guard = threading.Lock()
        self._client: Any = None
        self._here = threading.local()

    def read(
        self, operation: str, deadline: Deadline, *, absent: str = "", **parameters: object
    ) -> AwsAnswer | None:
        """Call an operation that only reads; None for the error code `absent`."""
        return self._call(operation, deadline, parameters, absent=absent, changes=False)

    def change(
        self, operation: str, deadline: Deadline, *, absent: str = "", **parameters: object
    ) -> AwsAnswer | None:
        """Call an operation that changes an object; None for the code `absent`."""
        return self._call(operation, deadline, parameters, absent=absent, changes=True)

    def pages(
        self, operation: str, key: str, deadline: Deadline, **parameters: str
    ) -> Iterator[AwsAnswer]:
        """Yield the items of each page; `Marker` requests the next page."""
        while True:
            page = self.read(operation, deadline, **parameters) or {}
            yield from page.get(key, ())
            if not page.get("Marker"):
                return
            parameters["Marker"] = page["Marker"]

    def close(self) -> None:
        """Close idle connections; the next call opens new ones."""
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    # Internal functions.

    def _call(
        self,
        operation: str,
        deadline: Deadline,
        parameters: Mapping[str, object],
        *,
        absent: str,
        changes: bool,
    ) -> AwsAnswer | None:
        client = self._open()
        seconds = deadline.left_seconds()
        if seconds == 0.0:
            raise Unavailable("no time was left for the request", retry_after_seconds=RETRY_SECONDS)
        call = BoundedCall(deadline)

        def ask() -> AwsAnswer:
            self._here.call = call
            answer: AwsAnswer = getattr(client, operation)(**parameters)
            return answer

        try:
            return within(seconds, ask)
        except TimeoutError:
            _not_answered("time-out", is_sent=not call.call_back(), changes=changes)
        except Exception as error:
            is_sent = not call.call_back()
            _explain(error, absent=absent, is_sent=is_sent, changes=changes)
        return None

    def _open(self) -> Any:
        with self._guard:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        settings = self._settings
        try:
            client = boto3.session.Session().client(
                self._service,
                region_name=settings.region,
                endpoint_url=settings.endpoint_url,
                aws_access_key_id=settings.access_key_id,
                aws_secret_access_key=self._secret,
                config=Config(
                    connect_timeout=settings.timeout_seconds,
                    read_timeout=settings.timeout_seconds,
                    max_pool_connections=settings.workers,
                    retries={"total_max_attempts": 1},
                    user_agent_appid="standfast",
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(
                f"AWS client: invalid settings ({type(error).__name__}). Check `region` and "
                "`endpoint_url`."
            ) from None
        client.meta.events.register("before-send", self._about_to_send)
        return client

    def _about_to_send(self, **_: object) -> None:
        call: BoundedCall = self._here.call
        call.begin()


def _not_answered(why: str, *, is_sent: bool, changes: bool) -> NoReturn:
    if is_sent and changes:
        raise OutcomeUnknown(f"the change was sent: AWS did not answer ({why})")
    raise Unavailable(f"AWS did not answer ({why})", retry_after_seconds=RETRY_SECONDS)


def _explain(error: Exception | None, *, absent: str, is_sent: bool, changes: bool) -> None:
    """Raise the error for an SDK exception; return if the object is absent."""
    match error:
        case ClientError():
            _explain_status(error, absent=absent, changes=changes)
        case ParamValidationError():
            raise ProviderRefused(
                "AWS does not accept the value. Check the name and the settings."
            ) from None
        case NoCredentialsError() | PartialCredentialsError():
            raise Unavailable(
                "AWS: no credentials. Set `access_key_id` and `secret_access_key`, or give this "
                "machine a role."
            ) from None
        case ConnectTimeoutError() | EndpointConnectionError():
            raise Unavailable(
                f"AWS cannot be reached ({type(error).__name__})", retry_after_seconds=RETRY_SECONDS
            ) from None
        case _:
            _not_answered(type(error).__name__, is_sent=is_sent, changes=changes)


def _explain_status(error: Any, *, absent: str, changes: bool) -> None:
    """Raise the error for an unsuccessful answer; return for code `absent`."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    meta = error.response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    if absent and code == absent:
        return
    if code in AWS_BUSY or status == 429:
        raise Unavailable("AWS is busy", retry_after_seconds=_retry_after(meta)) from None
    if code in AWS_REFUSED:
        raise Unavailable(
            "AWS refuses the configured credential, or its policy lacks a right. Compare it with "
            "the policy in deploy/aws."
        ) from None
    if code in _IN_THE_WAY:
        raise Unavailable(
            "AWS is processing another change of the same object", retry_after_seconds=RETRY_SECONDS
        ) from None
    if status >= 500:
        if changes and status != 503:
            raise OutcomeUnknown(f"the change was sent: AWS failed (status {status})") from None
        raise Unavailable(
            f"AWS failed (status {status})", retry_after_seconds=_retry_after(meta)
        ) from None
    # AWS's codes are single words. Any other text may contain names, so it is not repeated.
    word = code if code.isascii() and code.isalnum() else "unnamed"
    if changes:
        raise ProviderRefused(f"AWS does not accept the change ({word})") from None
    raise Unavailable(f"AWS does not accept the request ({word})") from None


def _retry_after(meta: Mapping[str, Any]) -> float:
    value = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
    if value.isascii() and value.isdigit():
        return min(max(float(value), RETRY_SECONDS), LONGEST_RETRY_AFTER_SECONDS)
    return RETRY_SECONDS
