"""Sender for one SMTP relay.

`mime_message` encodes the mail, and `delivery_reports` reads the bounces that come later.

Rules
- One connection carries all messages of a call; RSET follows a refused message. The connection is
  kept for the next call for a short time, and is tested before it is used again. If it breaks after
  some messages, another one is opened: many relays limit the messages on one connection.
- If the relay offers PIPELINING, then MAIL, RCPT and DATA are sent together (RFC 2920); the message
  itself is never sent before the relay asks for it. If it offers DSN, it is asked to report
  failures, with our token as the envelope id and the headers only (RFC 3461).
- If the connection breaks before the relay asked for the message, the message was not accepted:
  FAILED. From its first byte until the relay's answer, a break makes this message, and no other,
  UNKNOWN.
- 5xx to RCPT or after DATA concerns this message: REFUSED. 4xx, and an error that stops the whole
  call (no connection, sign-in, MAIL FROM), is FAILED, with a time for a retry if that may help.
- STARTTLS never falls back to plain text, and no password is sent without TLS.
- An address with non-ASCII letters before the @ is sent only to a relay that offers SMTPUTF8.
- The call ends at its deadline; messages that were not begun were not sent.
"""

import smtplib
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.mail_identity import letterhead
from standfast.adapters.senders.sender_context import SenderContext
from standfast.adapters.senders.smtp.mime_message import written
from standfast.config.sections.senders import SmtpSenderConfig
from standfast.errors import Unavailable
from standfast.notices.mail_addresses import Address, parse_address
from standfast.records import EffectState, Limits, Result

RELAY_AWAY_SECONDS = 60.0
COME_BACK_SECONDS = 300.0  # 4xx: mostly greylisting; RFC 6647 2.4 recommends some minutes
FAREWELL_SECONDS = 2.0  # for QUIT, when the results are known already
FRESH_SECONDS = 20.0  # relays end idle connections, by RFC 5321 4.5.3.2.7 after 5 minutes at least
MOST_MESSAGES = 100  # on one connection: some relays limit the number

_WELL = (250, 251, 252)
_SIGN_IN_FIRST = frozenset({530, 534, 535, 538})  # RFC 4954: the fault of our account


@dataclass(frozen=True, kw_only=True)
class _Answer:
    state: EffectState
    reason: str = ""
    retry_after_seconds: float | None = None
    may_go_elsewhere: bool = False
    is_last: bool = False  # the connection must be closed


@dataclass(kw_only=True)
class _Line:
    """A connection, and the number of messages that it has carried."""

    connection: smtplib.SMTP
    messages: int = 0
    fresh_until: float = 0.0


@dataclass(kw_only=True)
class _Call:
    """The state of a call."""

    deadline: float
    line: _Line | None  # None before the first message, and after a break
    rest: _Answer | None = None  # applies to each message not begun


class _NoConnection(Exception):
    """A result that applies to every message of the call."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.answer = _failed(reason, retry_after_seconds)


class SmtpSender(Sender):
    """One relay; the constructor checks the values and connects nowhere."""

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
        self._from = letterhead(name, settings, context.organisation)
        self._host = settings.host
        self._port = settings.port
        self._security = settings.security
        self._sign_in = (
            None
            if settings.username is None or settings.password is None
            else (settings.username, context.reveal(settings.password))
        )
        self._ca_file = settings.ca_file
        self._clock = context.clock
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._kept: list[_Line] = []

    def reach(self) -> None:
        try:
            seconds = self.limits.timeout_seconds
            connection = self._connect(self._monotonic() + seconds, seconds)
        except _NoConnection as nothing:
            raise Unavailable(f"sender {self.name!r}: {nothing}") from None
        _say_goodbye(connection)

    def close(self) -> None:
        with self._guard:
            kept, self._kept = self._kept, []
        for line in kept:
            _say_goodbye(line.connection)

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        deadline = self._monotonic() + self.limits.timeout_seconds
        call = _Call(deadline=deadline, line=self._take_kept())
        is_whole = False
        try:
            results = [_result(message, self._answer_to(message, call)) for message in messages]
            is_whole = call.rest is None
        finally:
            if call.line is not None and is_whole:
                self._keep(call.line)
            elif call.line is not None:
                _say_goodbye(call.line.connection)
        return results

    def _answer_to(self, message: Message, call: _Call) -> _Answer:
        """Send a message on the call's connection or a new one; return the answer."""
        seconds_left = call.deadline - self._monotonic()
        if call.rest is None and seconds_left <= 0:
            call.rest = _failed("not begun when the call's time was over", RELAY_AWAY_SECONDS)
        if call.rest is not None:
            return call.rest
        try:
            line = call.line or _Line(connection=self._connect(call.deadline, seconds_left))
        except _NoConnection as nothing:
            call.rest = nothing.answer
            return call.rest
        call.line = line
        answer = self._hand_over(line, message, seconds_left)
        if answer.is_last:
            _say_goodbye(line.connection)
            call.line = None
            if not line.messages:  # if it carried some, it was only cut: open another one
                call.rest = _failed("not begun when the relay went away", RELAY_AWAY_SECONDS)
        return answer

    def _take_kept(self) -> "_Line | None":
        """Return a connection of an earlier call that still answers."""
        while True:
            with self._guard:
                found = self._kept.pop() if self._kept else None
            if found is None:
                return None
            if self._monotonic() < found.fresh_until and _is_alive(found.connection):
                return found
            _say_goodbye(found.connection)

    def _keep(self, line: _Line) -> None:
        """Keep a connection for the next call unless it carried MOST_MESSAGES."""
        if line.messages >= MOST_MESSAGES:
            _say_goodbye(line.connection)
            return
        line.fresh_until = self._monotonic() + FRESH_SECONDS
        with self._guard:
            self._kept.append(line)

    def _connect(self, deadline: float, seconds_left: float) -> smtplib.SMTP:
        try:
            connection = self._open(seconds_left)
        except smtplib.SMTPResponseException as error:
            raise _of_status("the greeting", error.smtp_code) from error
        except ssl.SSLError as error:
            raise _NoConnection("the relay's certificate or TLS version does not fit") from error
        except OSError as error:
            raise _NoConnection("the relay cannot be reached", RELAY_AWAY_SECONDS) from error
        except ValueError as error:
            raise _NoConnection(f"host of sender {self.name!r} is no host name") from error
        try:
            _allow(connection, deadline - self._monotonic())
            connection.ehlo_or_helo_if_needed()
            if self._security == "starttls":
                connection.starttls(context=self._trust())
            if self._sign_in is not None:
                connection.login(*self._sign_in)
        except OSError as error:  # SMTPException is a subclass
            connection.close()
            raise _while_signing_in(error) from error
        except ValueError as error:
            connection.close()
            raise _NoConnection("the username or password has a letter beyond ASCII") from error
        except _NoConnection:
            connection.close()
            raise
        return connection

    def _open(self, seconds_left: float) -> smtplib.SMTP:
        # EHLO with the sender's domain: asking for this machine's own name can hang on DNS, and
        # tells the relay more than the mail needs.
        if self._security == "tls":
            return smtplib.SMTP_SSL(
                self._host,
                self._port,
                local_hostname=self._from.address.domain,
                timeout=seconds_left,
                context=self._trust(),
            )
        return smtplib.SMTP(
            self._host,
            self._port,
            local_hostname=self._from.address.domain,
            timeout=seconds_left,
        )

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise _NoConnection(f"ca_file of sender {self.name!r} cannot be read") from error

    def _hand_over(self, line: _Line, message: Message, seconds: float) -> _Answer:
        """Send a message, and count it if the connection carried it."""
        _allow(line.connection, seconds)
        answer = self._handed_over(line.connection, message)
        if not answer.is_last or answer.state is EffectState.REFUSED:
            line.messages += 1
        return answer

    def _handed_over(self, connection: smtplib.SMTP, message: Message) -> _Answer:
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
            reason = f"cannot be written as mail ({type(error).__name__})"
            return _Answer(state=EffectState.REFUSED, reason=reason)
        try:
            answer = self._announce(connection, message, address)
            if answer is not None:
                return answer if answer.is_last else _after_rset(connection, answer)
        except OSError:
            return _failed(
                "the relay went away before the message", RELAY_AWAY_SECONDS, is_last=True
            )
        return _send_bytes(connection, payload)

    def _announce(
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
                rcpt += f" ORCPT=rfc822;{_xtext(address.text)}"
        commands = {"MAIL FROM": mail, "RCPT TO": rcpt, "DATA": "DATA"}
        is_in_one = connection.has_extn("pipelining")
        if is_in_one:
            connection.send(
                "".join(f"{command_line}\r\n" for command_line in commands.values()).encode()
            )
        found: _Answer | None = None
        status = 0
        for command, line in commands.items():
            if not is_in_one:
                connection.send(f"{line}\r\n".encode())
            try:
                status = connection.getreply()[0]
            except OSError:
                if found is not None:  # an answer before the end of the connection counts
                    return replace(found, is_last=True)
                raise
            found = found or _judge(command, status, (354,) if command == "DATA" else _WELL)
            if found is not None and not is_in_one:
                return found
        if found is not None and status == 354:
            # RFC 2920 3.1: if the relay asks for a message without recipients, send an empty one.
            connection.send(b".\r\n")
            connection.getreply()
        return found

    def _payload(self, message: Message, address: Address) -> bytes:
        mail = written(message, address, letterhead=self._from, now=self._clock())
        return mail.replace(b"\n.", b"\n..") + b".\r\n"  # RFC 5321 4.5.2


def _judge(command: str, status: int, good: tuple[int, ...] = _WELL) -> _Answer | None:
    """Return the answer that a status means; None if the status is good."""
    if status in good:
        return None
    reason = f"the relay answered {command} with status {status}"
    if status == 421:  # RFC 5321 3.8: the relay closes the connection
        return _failed(reason, RELAY_AWAY_SECONDS, is_last=True)
    if 400 <= status < 500:
        return _failed(reason, COME_BACK_SECONDS)
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
        reason = "the relay went away without saying whether it took the message"
        return _Answer(state=EffectState.UNKNOWN, reason=reason, is_last=True)
    answer = _judge("the message", status)
    if answer is None:
        return _Answer(state=EffectState.DONE)
    if not 400 <= status < 600:
        return replace(answer, state=EffectState.UNKNOWN)
    return answer if answer.is_last else _after_rset(connection, answer)


def _after_rset(connection: smtplib.SMTP, answer: _Answer) -> _Answer:
    """Reset the relay's buffers; if that fails, end the connection.

    The answer to the message stays the same.
    """
    try:
        is_clear = connection.rset()[0] == 250
    except OSError:
        is_clear = False
    return replace(answer, is_last=not is_clear)


def _while_signing_in(error: OSError) -> _NoConnection:
    match error:
        case smtplib.SMTPAuthenticationError():
            return _of_status("the sign-in", error.smtp_code)
        case smtplib.SMTPResponseException():
            return _of_status("EHLO or STARTTLS", error.smtp_code)
        case smtplib.SMTPServerDisconnected():
            return _NoConnection("the relay went away before the first message", RELAY_AWAY_SECONDS)
        case smtplib.SMTPException():
            return _NoConnection("the relay does not offer STARTTLS or a sign-in as configured")
        case ssl.SSLError():
            return _NoConnection("the relay's certificate or TLS version does not fit")
    return _NoConnection("the relay went away before the first message", RELAY_AWAY_SECONDS)


def _of_status(command: str, status: int) -> _NoConnection:
    wait = RELAY_AWAY_SECONDS if 400 <= status < 500 else None
    return _NoConnection(f"the relay answered {command} with status {status}", wait)


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


def _allow(connection: smtplib.SMTP, seconds: float) -> None:
    """Set the time limit of each further command to `seconds`."""
    if connection.sock is not None:
        connection.sock.settimeout(max(seconds, 0.01))


def _is_alive(connection: smtplib.SMTP) -> bool:
    _allow(connection, FAREWELL_SECONDS)
    try:
        return connection.rset()[0] == 250
    except OSError:
        return False


def _xtext(text: str) -> str:
    """Encode an address as a parameter (RFC 3461 4)."""
    return "".join(char if char not in "+=" else f"+{ord(char):02X}" for char in text)


def _say_goodbye(connection: smtplib.SMTP) -> None:
    with suppress(OSError):
        if connection.sock is not None:
            _allow(connection, FAREWELL_SECONDS)
            connection.quit()
    connection.close()
