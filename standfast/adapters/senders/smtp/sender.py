"""Sender for one SMTP relay: commands of each message, answers.

`relay` connects, `mime_message` encodes the mail, and `delivery_reports` reads later bounces.

Rules
- All messages of a call use one connection; after a refused message, RSET resets it. If the
  connection breaks after some messages, a new connection is opened: many relays limit the messages
  on one connection.
- If the relay offers PIPELINING, then MAIL, RCPT and DATA are sent together (RFC 2920); the message
  itself is never sent before the relay asks for it. If the relay offers DSN, the sender asks for
  reports of failures, with the message's token as the envelope id and with the headers only
  (RFC 3461).
- If the connection breaks before the relay asked for the message, the message was not accepted and
  is FAILED. If the connection breaks later, before the relay's answer, only this message is
  UNKNOWN.
- After 5xx to RCPT or after DATA, this message is REFUSED. After 4xx, and after an error that stops
  the whole call (no connection, sign-in, MAIL FROM), the result is FAILED, with a time for a retry
  if that may help.
- An address with non-ASCII letters before the @ is sent only to a relay that offers SMTPUTF8.
- The call ends at its deadline. A message that it has not begun by then is FAILED.
"""

import smtplib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.mail_identity import mail_identity
from standfast.adapters.senders.sender_context import SenderContext
from standfast.adapters.senders.smtp.mime_message import written
from standfast.adapters.senders.smtp.relay import (
    RELAY_AWAY_SECONDS,
    NoConnection,
    Relay,
    RelayConnection,
    allow,
    quit_session,
)
from standfast.config.sections.senders import SmtpSenderConfig
from standfast.errors import Unavailable
from standfast.notices.mail_addresses import Address, parse_address
from standfast.records import EffectState, Limits, Result

RETRY_SECONDS = 300.0  # 4xx: mostly greylisting; RFC 6647 2.4 recommends some minutes

_SUCCESSES = (250, 251, 252)
_SIGN_IN_FIRST = frozenset({530, 534, 535, 538})  # RFC 4954: the configured account is at fault


@dataclass(frozen=True, kw_only=True)
class _Answer:
    state: EffectState
    reason: str = ""
    retry_after_seconds: float | None = None
    may_go_elsewhere: bool = False
    is_last: bool = False  # the connection must be closed


@dataclass(kw_only=True)
class _Call:
    """The state of a call."""

    deadline: float
    relay_connection: RelayConnection | None  # None before the first message, and after a break
    rest: _Answer | None = None  # applies to each message that was not begun


class SmtpSender(Sender):
    """Sender for one relay; the constructor only checks the values."""

    def __init__(
        self,
        name: str,
        settings: SmtpSenderConfig,
        context: SenderContext,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the relay; `monotonic` is the clock for the deadline of a call."""
        self.name = name
        self.limits = Limits(
            batch=settings.batch,
            workers=settings.workers,
            per_second=settings.per_second,
            timeout_seconds=settings.timeout_seconds,
        )
        self._from = mail_identity(name, settings, context.organisation)
        self._clock = context.clock
        self._monotonic = monotonic
        password = None if settings.password is None else context.reveal(settings.password)
        self._relay = Relay(name, settings, password, self._from.address.domain, monotonic)

    def reach(self) -> None:
        try:
            seconds = self.limits.timeout_seconds
            connection = self._relay.connect(self._monotonic() + seconds, seconds)
        except NoConnection as error:
            raise Unavailable(f"sender {self.name!r}: {error}") from None
        quit_session(connection)

    def close(self) -> None:
        self._relay.close()

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        deadline = self._monotonic() + self.limits.timeout_seconds
        call = _Call(deadline=deadline, relay_connection=self._relay.take_kept())
        is_whole = False
        try:
            results = [_result(message, self._answer_to(message, call)) for message in messages]
            is_whole = call.rest is None
        finally:
            if call.relay_connection is not None and is_whole:
                self._relay.keep(call.relay_connection)
            elif call.relay_connection is not None:
                quit_session(call.relay_connection.connection)
        return results

    def _answer_to(self, message: Message, call: _Call) -> _Answer:
        """Send a message on the call's connection or a new one; return the answer."""
        seconds_left = call.deadline - self._monotonic()
        if call.rest is None and seconds_left <= 0:
            call.rest = _failed("not sent: the time limit of the call was over", RELAY_AWAY_SECONDS)
        if call.rest is not None:
            return call.rest
        try:
            relay_connection = call.relay_connection or RelayConnection(
                connection=self._relay.connect(call.deadline, seconds_left)
            )
        except NoConnection as error:
            call.rest = _failed(str(error), error.retry_after_seconds)
            return call.rest
        call.relay_connection = relay_connection
        answer = self._send_on(relay_connection, message, seconds_left)
        if answer.is_last:
            quit_session(relay_connection.connection)
            call.relay_connection = None
            # If messages were sent before, the relay only limits the messages on one connection.
            if not relay_connection.messages:
                call.rest = _failed(
                    "not sent, because the relay closed the connection", RELAY_AWAY_SECONDS
                )
        return answer

    def _send_on(
        self, relay_connection: RelayConnection, message: Message, seconds: float
    ) -> _Answer:
        """Send a message; count the messages that this connection transmitted."""
        allow(relay_connection.connection, seconds)
        answer = self._send_message(relay_connection.connection, message)
        if not answer.is_last or answer.state is EffectState.REFUSED:
            relay_connection.messages += 1
        return answer

    def _send_message(self, connection: smtplib.SMTP, message: Message) -> _Answer:
        address = parse_address(message.address)
        if address.needs_smtputf8 and not connection.has_extn("smtputf8"):
            return _Answer(
                state=EffectState.REFUSED,
                reason="the address needs SMTPUTF8, which the relay does not offer",
                may_go_elsewhere=True,
            )
        try:
            payload = self._payload(message, address)
        except Exception as error:  # an error in one message must not stop the others
            reason = f"cannot be encoded as mail ({type(error).__name__})"
            return _Answer(state=EffectState.REFUSED, reason=reason)
        try:
            answer = self._send_envelope(connection, message, address)
            if answer is not None:
                return answer if answer.is_last else _reset_after(connection, answer)
        except OSError:
            return _failed(
                "the relay closed the connection before the message",
                RELAY_AWAY_SECONDS,
                is_last=True,
            )
        return _send_bytes(connection, payload)

    def _send_envelope(
        self, connection: smtplib.SMTP, message: Message, address: Address
    ) -> _Answer | None:
        """Send the envelope; return None once the relay asks for the message."""
        mail, rcpt = f"MAIL FROM:<{self._from.address.text}>", f"RCPT TO:<{address.text}>"
        if address.needs_smtputf8:
            mail += " SMTPUTF8 BODY=8BITMIME"
        if connection.has_extn("dsn"):
            mail += f" RET=HDRS ENVID={message.token}"
            rcpt += " NOTIFY=FAILURE,DELAY"
            if not address.needs_smtputf8:  # RFC 6533 defines another form, which few relays know
                rcpt += f" ORCPT=rfc822;{_encode_xtext(address.text)}"
        commands = {"MAIL FROM": mail, "RCPT TO": rcpt, "DATA": "DATA"}
        is_in_one = connection.has_extn("pipelining")
        if is_in_one:
            connection.send(
                "".join(f"{command_line}\r\n" for command_line in commands.values()).encode()
            )
        found: _Answer | None = None
        status = 0
        for command, command_line in commands.items():
            if not is_in_one:
                connection.send(f"{command_line}\r\n".encode())
            try:
                status = connection.getreply()[0]
            except OSError:
                if found is not None:  # the relay answered before it closed the connection
                    return replace(found, is_last=True)
                raise
            found = found or _interpret_status(
                command, status, (354,) if command == "DATA" else _SUCCESSES
            )
            if found is not None and not is_in_one:
                return found
        if found is not None and status == 354:
            # RFC 2920 3.1: if the relay asks for a message without recipients, send an empty one.
            connection.send(b".\r\n")
            connection.getreply()
        return found

    def _payload(self, message: Message, address: Address) -> bytes:
        mail = written(message, address, mail_identity=self._from, now=self._clock())
        return mail.replace(b"\n.", b"\n..") + b".\r\n"  # RFC 5321 4.5.2


def _interpret_status(
    command: str, status: int, good: tuple[int, ...] = _SUCCESSES
) -> _Answer | None:
    """Return the answer that a status means; None if the status is good."""
    if status in good:
        return None
    reason = f"the relay answered {command} with status {status}"
    if status == 421:  # RFC 5321 3.8: the relay closes the connection
        return _failed(reason, RELAY_AWAY_SECONDS, is_last=True)
    if 400 <= status < 500:
        return _failed(reason, RETRY_SECONDS)
    if not 500 <= status < 600:
        return _failed(reason, is_last=True)
    if command == "MAIL FROM" or status in _SIGN_IN_FIRST:
        return _failed(reason)
    return _Answer(state=EffectState.REFUSED, reason=reason)


def _send_bytes(connection: smtplib.SMTP, payload: bytes) -> _Answer:
    try:
        connection.send(payload)
        status = connection.getreply()[0]
    except OSError:
        reason = "the relay did not report whether it accepted the message"
        return _Answer(state=EffectState.UNKNOWN, reason=reason, is_last=True)
    answer = _interpret_status("the message", status)
    if answer is None:
        return _Answer(state=EffectState.DONE)
    if not 400 <= status < 600:
        return replace(answer, state=EffectState.UNKNOWN)
    return answer if answer.is_last else _reset_after(connection, answer)


def _reset_after(connection: smtplib.SMTP, answer: _Answer) -> _Answer:
    """Reset the relay's buffers; if that fails, end the connection.

    The answer about the message itself does not change.
    """
    try:
        is_clear = connection.rset()[0] == 250
    except OSError:
        is_clear = False
    return replace(answer, is_last=not is_clear)


def _failed(
    reason: str, retry_after_seconds: float | None = None, *, is_last: bool = False
) -> _Answer:
    return _Answer(
        state=EffectState.FAILED,
        reason=reason,
        retry_after_seconds=retry_after_seconds,
        is_last=is_last,
    )


def _result(message: Message, answer: _Answer) -> Result:
    return Result(
        target=message.address,
        state=answer.state,
        reason=answer.reason,
        retry_after_seconds=answer.retry_after_seconds,
        may_go_elsewhere=answer.may_go_elsewhere,
    )


def _encode_xtext(text: str) -> str:
    """Encode an address as a parameter (RFC 3461 4)."""
    return "".join(char if char not in "+=" else f"+{ord(char):02X}" for char in text)
