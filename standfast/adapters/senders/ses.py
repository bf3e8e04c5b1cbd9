"""Sender for Amazon SES, API v2.

SES reports later events, such as bounces, through its own notifications.

Rules
- The messages of a batch are sent one after the other, one call each, within the time limit of the
  batch. The sender's workers send several batches in parallel. The SDK repeats nothing.
- Every call runs in its own thread, which is abandoned at its time limit. After such a time-out or
  a 5xx, the message may have been accepted: it is UNKNOWN, and the other messages are still sent.
- An error of the account (no rights, suspended, paused, address not verified) applies to all
  messages that were not begun. A rate limit is FAILED with a time for the next attempt.
- Reasons contain AWS's error code, never AWS's message, which contains addresses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.header import Header
from email.utils import quote
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.mail_identity import invalid_setting, mail_identity
from standfast.adapters.senders.sender_context import SenderContext
from standfast.config.sections.senders import SesSenderConfig
from standfast.errors import Unavailable
from standfast.notices.mail_addresses import Address, parse_address
from standfast.records import EffectState, Limits, Result
from standfast.secrets import Reveal
from standfast.time_limit import Deadline, within

RETRY_SECONDS = 30.0
TOKEN_TAG = "standfast_token"  # noqa: S105 - the name of a tag, no secret
_BUSY = frozenset({"TooManyRequestsException", "Throttling", "ThrottlingException", "SlowDown"})
_ABOUT_THE_MESSAGE = frozenset({"BadRequestException", "MessageRejected"})


@dataclass(frozen=True, kw_only=True)
class _Answer:
    state: EffectState
    reason: str = ""
    retry_after_seconds: float | None = None
    is_for_all: bool = False
    message_id: str = ""


class SesSender(Sender):
    """One SES identity; the constructor only checks the values."""

    def __init__(self, name: str, settings: SesSenderConfig, context: SenderContext) -> None:
        self.name = name
        self.limits = Limits(
            batch=settings.batch,
            workers=settings.workers,
            per_second=settings.per_second,
            timeout_seconds=settings.timeout_seconds,
        )
        self._from = mail_identity(name, settings, context.organisation)
        self._client = self._make_client(settings, context.reveal)

    def reach(self) -> None:
        answer = self._call(Deadline(self.limits.timeout_seconds), self._look)
        if answer.state is not EffectState.DONE:
            raise Unavailable(f"sender {self.name!r}: {answer.reason}")

    def close(self) -> None:
        self._client.close()

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        deadline = Deadline(self.limits.timeout_seconds)
        results: list[Result] = []
        rest: _Answer | None = None
        for message in messages:
            if rest is None and deadline.left_seconds() == 0.0:
                rest = _failed("not sent: the time limit of the call was over", RETRY_SECONDS)
            answer = rest or self._send_message(message, deadline)
            if answer.is_for_all:
                rest = answer
            results.append(
                Result(
                    target=message.address,
                    state=answer.state,
                    reason=answer.reason,
                    retry_after_seconds=answer.retry_after_seconds,
                    may_go_elsewhere=answer.state is EffectState.REFUSED,
                    facts={"ses_message_id": answer.message_id} if answer.message_id else {},
                )
            )
        return results

    def _send_message(self, message: Message, deadline: Deadline) -> _Answer:
        address = parse_address(message.address)
        if address.needs_smtputf8:
            reason = "the address is not ASCII before the @, which SES does not accept"
            return _Answer(state=EffectState.REFUSED, reason=reason)
        return self._call(deadline, lambda: self._post(message, address))

    def _post(self, message: Message, address: Address) -> str:
        content = {
            "Subject": {"Data": message.subject, "Charset": "UTF-8"},
            "Body": {
                "Text": {"Data": message.text, "Charset": "UTF-8"},
                "Html": {"Data": message.html, "Charset": "UTF-8"},
            },
            "Headers": [
                {"Name": "Auto-Submitted", "Value": "auto-generated"},
                {"Name": "Content-Language", "Value": message.language},
            ],
        }
        answer = self._client.send_email(
            FromEmailAddress=_mailbox(self._from.name, self._from.address),
            Destination={"ToAddresses": [address.text]},
            ReplyToAddresses=[] if self._from.reply_to is None else [self._from.reply_to.text],
            Content={"Simple": content},
            EmailTags=[{"Name": TOKEN_TAG, "Value": message.token}],
        )
        return str(answer.get("MessageId", ""))[:100]

    def _look(self) -> str:
        self._client.get_account()
        return ""

    def _call(self, deadline: Deadline, act: Callable[[], str]) -> _Answer:
        try:
            message_id = within(deadline.left_seconds(), act)
        except TimeoutError:
            reason = "SES did not report whether it accepted the message"
            return _Answer(state=EffectState.UNKNOWN, reason=reason)
        except Exception as error:
            return _interpret_error(error)
        return _Answer(state=EffectState.DONE, message_id=message_id)

    def _make_client(self, settings: SesSenderConfig, reveal: Reveal) -> Any:
        key, secret = settings.access_key_id, settings.secret_access_key
        seconds = settings.timeout_seconds
        try:
            return boto3.session.Session().client(
                "sesv2",
                region_name=settings.region,
                aws_access_key_id=None if key is None else reveal(key),
                aws_secret_access_key=None if secret is None else reveal(secret),
                endpoint_url=settings.endpoint_url,
                config=Config(
                    retries={"total_max_attempts": 1},
                    connect_timeout=seconds,
                    read_timeout=seconds,
                    max_pool_connections=self.limits.workers,
                    proxies={},
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise invalid_setting(
                self.name, "region", f"is not valid ({type(error).__name__})"
            ) from None


def _interpret_error(error: Exception) -> _Answer:
    """Return the result of the message for an error of the SDK."""
    kind = type(error).__name__
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = code if code.isascii() and code.isalnum() else str(status)
        if code in _BUSY or status in (429, 503):
            return _failed(f"SES answered {code}", RETRY_SECONDS, is_for_all=True)
        if code in _ABOUT_THE_MESSAGE:
            return _Answer(state=EffectState.REFUSED, reason=f"SES answered {code}")
        if status >= 500:
            return _Answer(state=EffectState.UNKNOWN, reason=f"SES answered {code}")
        return _failed(f"SES answered {code}", is_for_all=True)
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
        return _failed("SES cannot be reached", RETRY_SECONDS, is_for_all=True)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | SSLError):
        return _failed(f"SES cannot be called ({kind})", is_for_all=True)
    if isinstance(error, HTTPClientError):
        return _Answer(
            state=EffectState.UNKNOWN,
            reason=f"SES did not report whether it accepted the message ({kind})",
        )
    return _Answer(state=EffectState.UNKNOWN, reason=f"unexpected {kind}")


def _failed(
    reason: str, retry_after_seconds: float | None = None, *, is_for_all: bool = False
) -> _Answer:
    return _Answer(
        state=EffectState.FAILED,
        reason=reason,
        retry_after_seconds=retry_after_seconds,
        is_for_all=is_for_all,
    )


def _mailbox(name: str, address: Address) -> str:
    """Return a name with its address.

    SES requires that a non-ASCII name is an encoded word (RFC 2047).
    """
    if not name:
        return address.text
    shown = f'"{quote(name)}"' if name.isascii() else Header(name, "utf-8").encode(linesep="")
    return f"{shown} <{address.text}>"
