"""Connections to one SMTP relay: opening, sign-in, reuse, end.

Rules
- A connection is kept for the next call for FRESH_SECONDS, and is tested before it is used again.
- STARTTLS never falls back to plain text, and no password is sent without TLS.
"""

import smtplib
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from standfast.config.sections.senders import SmtpSenderConfig

RELAY_AWAY_SECONDS = 60.0
QUIT_SECONDS = 2.0  # for QUIT, when no result depends on it, and for RSET before a reuse
FRESH_SECONDS = 20.0  # relays end idle connections, by RFC 5321 4.5.3.2.7 after 5 minutes at least
MOST_MESSAGES = 100  # messages on one connection: some relays limit them


@dataclass(kw_only=True)
class RelayConnection:
    """A connection to the relay, and the number of messages sent on it."""

    connection: smtplib.SMTP
    messages: int = 0
    fresh_until: float = 0.0


class NoConnection(Exception):
    """There is no connection to the relay, so no message of the call is sent."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class Relay:
    """One relay and its idle connections; safe for many threads."""

    def __init__(
        self,
        name: str,
        settings: SmtpSenderConfig,
        password: str | None,
        domain: str,
        monotonic: Callable[[], float],
    ) -> None:
        """Open no connection yet; `domain` is the sender's domain, for EHLO."""
        self._name = name
        self._host = settings.host
        self._port = settings.port
        self._security = settings.security
        user = settings.username
        self._sign_in = None if user is None or password is None else (user, password)
        self._ca_file = settings.ca_file
        self._domain = domain
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._kept: list[RelayConnection] = []

    def close(self) -> None:
        """Close the idle connections."""
        with self._guard:
            kept, self._kept = self._kept, []
        for relay_connection in kept:
            quit_session(relay_connection.connection)

    def take_kept(self) -> RelayConnection | None:
        """Return a connection of an earlier call that still answers."""
        while True:
            with self._guard:
                found = self._kept.pop() if self._kept else None
            if found is None:
                return None
            if self._monotonic() < found.fresh_until and _is_alive(found.connection):
                return found
            quit_session(found.connection)

    def keep(self, relay_connection: RelayConnection) -> None:
        """Keep a connection for the next call; close it after MOST_MESSAGES."""
        if relay_connection.messages >= MOST_MESSAGES:
            quit_session(relay_connection.connection)
            return
        relay_connection.fresh_until = self._monotonic() + FRESH_SECONDS
        with self._guard:
            self._kept.append(relay_connection)

    def connect(self, deadline: float, seconds_left: float) -> smtplib.SMTP:
        try:
            connection = self._open(seconds_left)
        except smtplib.SMTPResponseException as error:
            raise _status_error("the greeting", error.smtp_code) from error
        except ssl.SSLError as error:
            raise NoConnection("the certificate or TLS version of the relay is refused") from error
        except OSError as error:
            raise NoConnection("the relay cannot be reached", RELAY_AWAY_SECONDS) from error
        except ValueError as error:
            raise NoConnection(f"host of sender {self._name!r} is not a host name") from error
        try:
            allow(connection, deadline - self._monotonic())
            connection.ehlo_or_helo_if_needed()
            if self._security == "starttls":
                connection.starttls(context=self._tls_context())
            if self._sign_in is not None:
                connection.login(*self._sign_in)
        except OSError as error:  # SMTPException is a subclass
            connection.close()
            raise _sign_in_error(error) from error
        except ValueError as error:
            connection.close()
            raise NoConnection("the username or password is not ASCII") from error
        except NoConnection:
            connection.close()
            raise
        return connection

    def _open(self, seconds_left: float) -> smtplib.SMTP:
        # EHLO with the sender's domain: looking up the name of this machine can hang on DNS.
        own: dict[str, Any] = {"local_hostname": self._domain, "timeout": seconds_left}
        if self._security == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, context=self._tls_context(), **own)
        return smtplib.SMTP(self._host, self._port, **own)

    def _tls_context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise NoConnection(f"ca_file of sender {self._name!r} cannot be read") from error


def _sign_in_error(error: OSError) -> NoConnection:
    match error:
        case smtplib.SMTPAuthenticationError():
            return _status_error("the sign-in", error.smtp_code)
        case smtplib.SMTPResponseException():
            return _status_error("EHLO or STARTTLS", error.smtp_code)
        case smtplib.SMTPServerDisconnected():
            return NoConnection(
                "the relay closed the connection before the first message", RELAY_AWAY_SECONDS
            )
        case smtplib.SMTPException():
            return NoConnection("the relay does not offer STARTTLS or a sign-in as configured")
        case ssl.SSLError():
            return NoConnection("the certificate or TLS version of the relay is refused")
    return NoConnection(
        "the relay closed the connection before the first message", RELAY_AWAY_SECONDS
    )


def _status_error(command: str, status: int) -> NoConnection:
    wait = RELAY_AWAY_SECONDS if 400 <= status < 500 else None
    return NoConnection(f"the relay answered {command} with status {status}", wait)


def allow(connection: smtplib.SMTP, seconds: float) -> None:
    """Set the time limit of each further command to `seconds`."""
    if connection.sock is not None:
        connection.sock.settimeout(max(seconds, 0.01))


def _is_alive(connection: smtplib.SMTP) -> bool:
    allow(connection, QUIT_SECONDS)
    try:
        return connection.rset()[0] == 250
    except OSError:
        return False


def quit_session(connection: smtplib.SMTP) -> None:
    """Send QUIT within a short time and close the connection."""
    with suppress(OSError):
        if connection.sock is not None:
            allow(connection, QUIT_SECONDS)
            connection.quit()
    connection.close()
