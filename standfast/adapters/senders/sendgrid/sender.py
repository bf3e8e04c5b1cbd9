"""Sender for Twilio SendGrid: requests that share texts, limits, refusals.

`delivery_events` reads the later events, such as delivered or bounced.

Rules
- One request has one content for at most 1,000 people. Messages that share their text pieces are
  sent together: the pieces once, and each person's values as substitutions, which SendGrid inserts
  at marks. A mark is a random text, new for each request, that no piece, value or subject contains.
  Values for HTML are already escaped. Other messages are sent in separate requests.
- SendGrid accepts or refuses a request as a whole. If a 400 names recipients, their messages are
  refused and the others are sent again. If a 400 names no recipient, or after a 413, the request is
  halved until the cause is found.
- 401 and 403 concern the account and apply to all messages. After 429 and 503 nothing was accepted.
  After any other 5xx, and if a request that was sent is not answered, the result is UNKNOWN:
  nothing is sent a second time.
- The token of a message (its id, the same in every attempt) is the only custom argument of a mail;
  SendGrid includes it in every event.
- Nothing is tracked: no opens, no clicks, no unsubscribe links, no footer.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.mail_identity import invalid_setting, mail_identity
from standfast.adapters.senders.sender_context import SenderContext
from standfast.config.sections.senders import SendgridSenderConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.http_client import Answer, HttpClient, NoAnswer, NotSent, fits_a_header
from standfast.notices.mail_addresses import parse_address
from standfast.notices.prepared_notice import Piece, PreparedParts
from standfast.records import EffectState, JsonObject, Limits, Result
from standfast.time_limit import Deadline

MOST_RECIPIENTS = 1000
MOST_SUBSTITUTION_BYTES = 10_000  # limit for one recipient
MOST_REQUEST_BYTES = 15_000_000  # half of SendGrid's limit for one mail
MOST_REQUESTS_A_CALL = 64  # bounds the search for the cause of a refusal that names nobody
TOKEN_ARGUMENT = "standfast_token"  # noqa: S105 - the name of a field, no secret
RETRY_SECONDS = 60.0

Numbered: TypeAlias = tuple[int, Message]
_BLAMED = re.compile(r"personalizations\.([0-9]{1,4})\.")
_REJECTED_ACCOUNT = {401: "refuses the key", 403: "refuses the account or its sender address"}


class SendGridSender(Sender):
    """One SendGrid account; the constructor only checks the values."""

    def __init__(
        self,
        name: str,
        settings: SendgridSenderConfig,
        context: SenderContext,
        *,
        new_mark: Callable[[], str] = lambda: secrets.token_hex(12),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.limits = Limits(
            batch=settings.batch,
            workers=settings.workers,
            per_second=settings.per_second,
            burst=settings.batch,
            timeout_seconds=settings.timeout_seconds,
        )
        key = context.reveal(settings.key)
        if not fits_a_header(key):
            raise invalid_setting(name, "key", "is not an API key: one word of visible ASCII")
        self._from = mail_identity(name, settings, context.organisation)
        self._client = self._make_client(key, settings.region)
        self._host = settings.url or str(self._client.host)
        self._headers: Mapping[str, str] = self._client.client.request_headers
        self._clock = context.clock
        self._new_mark = new_mark
        self._monotonic = monotonic
        self._http = HttpClient(
            ca_file=settings.ca_file, workers=settings.workers, clock=context.clock
        )

    def reach(self) -> None:
        deadline = Deadline(self.limits.timeout_seconds)
        answer = self._exchange("GET", "/v3/scopes", deadline)
        if not answer.is_success:
            why = _REJECTED_ACCOUNT.get(answer.status, f"answered status {answer.status}")
            raise Unavailable(f"sender {self.name!r}: SendGrid {why}")
        try:
            scopes = answer.json()
        except ValueError:
            scopes = None
        if not isinstance(scopes, dict) or "mail.send" not in scopes.get("scopes", ()):
            raise Unavailable(
                f"sender {self.name!r}: the key may not send mail. Grant it mail.send."
            )

    def close(self) -> None:
        self._http.close()

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        call = _Call(self, messages)
        return call.run()

    def _exchange(
        self, method: str, path: str, deadline: Deadline, content: bytes | None = None
    ) -> Answer:
        headers = dict(self._headers)
        if content is not None:
            headers["Content-Type"] = "application/json"
        return self._http.exchange(
            method, self._host + path, deadline, headers=headers, content=content
        )

    def _make_client(self, key: str, region: str) -> Any:
        from sendgrid import SendGridAPIClient

        # The SDK's client supplies host and headers only: its requests have no total time limit.
        client = SendGridAPIClient(key)
        client.set_sendgrid_data_residency(region)
        return client

    @cached_property
    def _frame(self) -> JsonObject:
        """Return the part that all requests share: sender, and tracking disabled."""
        from sendgrid.helpers import mail as parts

        mail = parts.Mail(from_email=parts.From(self._from.address.text, self._from.name or None))
        if self._from.reply_to is not None:
            mail.reply_to = parts.ReplyTo(self._from.reply_to.text)
        mail.tracking_settings = parts.TrackingSettings(
            click_tracking=parts.ClickTracking(enable=False, enable_text=False),
            open_tracking=parts.OpenTracking(enable=False),
            subscription_tracking=parts.SubscriptionTracking(enable=False),
            ganalytics=parts.Ganalytics(enable=False),
        )
        mail.mail_settings = parts.MailSettings(
            footer_settings=parts.FooterSettings(enable=False),
            sandbox_mode=parts.SandBoxMode(enable=False),
        )
        frame: JsonObject = mail.get()
        return frame


class _Call:
    """One call of `send`: all its requests, with limits of number and time."""

    def __init__(self, sender: SendGridSender, messages: Sequence[Message]) -> None:
        self._sender = sender
        self._messages = messages
        self._deadline = Deadline(sender.limits.timeout_seconds)
        self._results: dict[int, Result] = {}
        self._left = MOST_REQUESTS_A_CALL
        self._stopped: tuple[str, float | None] | None = None  # applies to all messages not begun

    def run(self) -> list[Result]:
        for shared in _by_content(self._addressable()):
            for start in range(0, len(shared), MOST_RECIPIENTS):
                self._send_batch(shared[start : start + MOST_RECIPIENTS])
        return [self._results[place] for place in range(len(self._messages))]

    def _addressable(self) -> Iterator[Numbered]:
        for place, message in enumerate(self._messages):
            if parse_address(message.address).needs_smtputf8:
                reason = "the address is not ASCII before the @, which SendGrid does not accept"
                self._end([(place, message)], EffectState.REFUSED, reason)
            else:
                yield place, message

    def _send_batch(self, batch: Sequence[Numbered]) -> None:
        if not batch:
            return
        if self._stopped is None and self._left == 0:
            self._stopped = "not sent: too many earlier requests were refused", RETRY_SECONDS
        if self._stopped is None and self._deadline.left_seconds() == 0.0:
            self._stopped = "not sent: the time limit of the call was over", RETRY_SECONDS
        if self._stopped is not None:
            self._end(batch, EffectState.FAILED, *self._stopped)
            return
        content = json.dumps(self._request(batch), ensure_ascii=False).encode()
        if len(content) > MOST_REQUEST_BYTES and len(batch) > 1:
            self._halve(batch)
            return
        self._left -= 1
        try:
            answer = self._sender._exchange("POST", "/v3/mail/send", self._deadline, content)
        except ConfigurationError as error:  # invalid certificate file: nothing was sent
            self._stopped = str(error), None
            self._end(batch, EffectState.FAILED, *self._stopped)
        except NotSent:
            self._stopped = "SendGrid cannot be reached", RETRY_SECONDS
            self._end(batch, EffectState.FAILED, *self._stopped)
        except NoAnswer:
            self._stopped = "not sent, because SendGrid did not answer", RETRY_SECONDS
            reason = "SendGrid did not report whether it accepted the message"
            self._end(batch, EffectState.UNKNOWN, reason)
        else:
            self._interpret_answer(batch, answer)

    def _interpret_answer(self, batch: Sequence[Numbered], answer: Answer) -> None:
        reason = f"SendGrid answered with status {answer.status}"
        match answer.status:
            case 202:
                taken_as = answer.headers.get("x-message-id", "")[:100]
                facts = {"x_message_id": taken_as} if taken_as else {}
                self._end(batch, EffectState.DONE, "", facts=facts)
            case 400:
                self._refuse_named(batch, answer, reason)
            case 401 | 403:
                why = f"SendGrid {_REJECTED_ACCOUNT[answer.status]} (status {answer.status})"
                self._stopped = why, None
                self._end(batch, EffectState.FAILED, why)
            case 413 if len(batch) > 1:
                self._halve(batch)
            case 413:
                self._end(batch, EffectState.REFUSED, f"the message is too large; {reason}")
            case 429 | 503:
                self._stopped = reason, self._seconds_until(answer)
                self._end(batch, EffectState.FAILED, *self._stopped)
            case status if 200 <= status < 300 or status >= 500:
                self._end(batch, EffectState.UNKNOWN, reason)
            case _:  # such as 401: the error applies to all messages
                self._stopped = reason, None
                self._end(batch, EffectState.FAILED, reason)

    def _refuse_named(self, batch: Sequence[Numbered], answer: Answer, reason: str) -> None:
        """Refuse the messages that an answer names; send the others again."""
        fields = _refused_fields(answer)
        blamed = {int(found[1]) for field in fields if (found := _BLAMED.match(field))} & set(
            range(len(batch))
        )
        if blamed:
            self._end([batch[index] for index in sorted(blamed)], EffectState.REFUSED, reason)
            self._send_batch(
                [message for index, message in enumerate(batch) if index not in blamed]
            )
        elif any(fields):
            self._stopped = f"{reason} about {_own_part_name(fields)}", None
            self._end(batch, EffectState.FAILED, *self._stopped)
        elif len(batch) > 1:
            self._halve(batch)
        else:
            self._end(batch, EffectState.REFUSED, reason)

    def _halve(self, batch: Sequence[Numbered]) -> None:
        middle = len(batch) // 2
        self._send_batch(batch[:middle])
        self._send_batch(batch[middle:])

    def _seconds_until(self, answer: Answer) -> float:
        if answer.retry_after_seconds is not None:
            return max(1.0, answer.retry_after_seconds)
        reset = answer.headers.get("x-ratelimit-reset", "")
        if not (reset.isascii() and reset.isdigit()):
            return RETRY_SECONDS
        seconds = float(reset) - self._sender._clock().timestamp()
        return min(max(1.0, seconds), 3600.0)

    def _request(self, batch: Sequence[Numbered]) -> JsonObject:
        first = batch[0][1]
        parts = first.parts if _is_shared(first) else None
        if parts is None:
            text, html, slots = first.text, first.html, {}
        else:
            names = sorted(first.shown)
            mark = self._mark(parts, [message for _, message in batch])
            slots = {name: f"-{mark}.{place}" for place, name in enumerate(names)}
            text = _insert_marks(parts.text, slots, ".t-")
            html = _insert_marks(parts.html, slots, ".h-")
        return {
            **self._sender._frame,
            "personalizations": [_personal(message, slots) for _, message in batch],
            "content": [
                {"type": "text/plain", "value": text},
                {"type": "text/html", "value": html},
            ],
            "headers": {"Auto-Submitted": "auto-generated", "Content-Language": first.language},
        }

    def _mark(self, parts: PreparedParts, messages: Sequence[Message]) -> str:
        """Return a mark that no piece, value or subject of the request contains."""
        pieces = [piece.text for piece in (*parts.text, *parts.html)]
        while True:
            mark = self._sender._new_mark()
            texts = chain(pieces, *map(_own_texts, messages))
            if not any(mark in text for text in texts):
                return mark

    def _end(
        self,
        batch: Iterable[Numbered],
        state: EffectState,
        reason: str,
        retry_after_seconds: float | None = None,
        *,
        facts: JsonObject | None = None,
    ) -> None:
        for place, message in batch:
            self._results[place] = Result(
                target=message.address,
                state=state,
                reason=reason,
                facts=facts or {},
                retry_after_seconds=retry_after_seconds,
                # SendGrid refused the address by its syntax: no mailbox was tried.
                may_go_elsewhere=state is EffectState.REFUSED,
            )


def _by_content(messages: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """Group the messages that one request may contain."""
    found: dict[tuple[object, ...], list[Numbered]] = {}
    for place, message in messages:
        shared = (id(message.parts),) if _is_shared(message) else (message.text, message.html)
        found.setdefault((message.language, *shared), []).append((place, message))
    yield from found.values()


def _is_shared(message: Message) -> bool:
    values = (*message.shown.values(), *message.escaped.values())
    size = sum(len(value.encode()) + 60 for value in values)  # with the mark
    return size <= MOST_SUBSTITUTION_BYTES and message.is_made_of_parts


def _own_texts(message: Message) -> tuple[str, ...]:
    """Return the subject and values of a message, to check for a mark."""
    return (message.subject, *message.shown.values(), *message.escaped.values())


def _insert_marks(pieces: Sequence[Piece], slots: Mapping[str, str], end: str) -> str:
    return "".join(slots[piece.text] + end if piece.is_slot else piece.text for piece in pieces)


def _personal(message: Message, slots: Mapping[str, str]) -> JsonObject:
    personal: dict[str, Any] = {
        "to": [{"email": parse_address(message.address).text}],
        "subject": message.subject,
        "custom_args": {TOKEN_ARGUMENT: message.token},
    }
    if slots:
        personal["substitutions"] = {
            mark + end: values[name]
            for name, mark in slots.items()
            for end, values in ((".t-", message.shown), (".h-", message.escaped))
        }
    return personal


def _refused_fields(answer: Answer) -> list[str]:
    """Return the fields that a refusal names; "" for an error without a field."""
    try:
        body = answer.json()
    except ValueError:
        return []
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, list):
        return []
    fields = [error.get("field") if isinstance(error, dict) else None for error in errors]
    return [field if isinstance(field, str) and field != "null" else "" for field in fields]


def _own_part_name(fields: Sequence[str]) -> str:
    """Return the name of the refused part if this sender wrote it."""
    part = next((field for field in fields if field), "").partition(".")[0]
    known = ("from", "reply_to", "subject", "content", "headers", "custom_args", "personalizations")
    return part if part in known else "a part of the request"
