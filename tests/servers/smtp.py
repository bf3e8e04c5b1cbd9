"""Real SMTP server (aiosmtpd) with scripted answers.

- `smtp_server`: function; a fresh server on a free port, offering SMTPUTF8, without TLS.
- `running_smtp(...)`: the same as a context manager, with STARTTLS or sign-in or without SMTPUTF8.
- With `extensions`, it offers PIPELINING or DSN as well, and records their parameters.
- A message counts as delivered when the server accepted it, even if its answer was lost.
"""

import asyncio
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest

from tests.servers import free_port, need

HOLD_SECONDS = 60.0
DROP = "drop"


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One message that the server accepted."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    greeting: str  # the client's name in its greeting
    asked: str  # the DSN parameters of MAIL and RCPT
    signed_in_as: str | None
    was_encrypted: bool

    @property
    def message(self) -> EmailMessage:
        return BytesParser(policy=policy.default).parsebytes(self.raw)


class SmtpServer:
    """A mailbox and a script, usable while the server runs in its thread."""

    def __init__(self, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self.sessions = 0
        self.extensions: tuple[str, ...] = ()
        self.transports: list[asyncio.Transport] = []
        # The DSN parameters of the current message, by session.
        self.asked: dict[int, tuple[str, ...]] = {}
        self.flights: list[bytes] = []  # the packets, recorded where a test examines them
        self._lock = threading.Lock()
        self._delivered: list[Delivered] = []
        self._recipient_answers: dict[str, str] = {}
        self._data_answers: list[str] = []
        self._holding: set[str] = set()
        self._reached: dict[str, threading.Event] = {
            "rcpt": threading.Event(),
            "data": threading.Event(),
        }

    @property
    def delivered(self) -> tuple[Delivered, ...]:
        """Return every accepted message, in order."""
        with self._lock:
            return tuple(self._delivered)

    def answer_recipient(self, address: str, answer: str) -> None:
        """Answer each RCPT TO of an address by this text, such as `550 5.1.1`."""
        with self._lock:
            self._recipient_answers[address] = answer

    def answer_next_data(self, *answers: str) -> None:
        """Refuse the next messages with this answer; `DROP` disconnects."""
        with self._lock:
            self._data_answers.extend(answers)

    def drop_after_data(self) -> None:
        """Accept the next message, then disconnect before the answer."""
        with self._lock:
            self._data_answers.append("take and drop")

    def hold(self, stage: str) -> None:
        """Block at `rcpt` or `data` until `release`."""
        with self._lock:
            self._reached[stage].clear()
            self._holding.add(stage)

    def release(self) -> None:
        """End every `hold`."""
        with self._lock:
            self._holding.clear()

    def wait_for(self, stage: str) -> None:
        """Wait until a client has reached `rcpt` or `data`."""
        assert self._reached[stage].wait(HOLD_SECONDS), f"no client came to {stage}"

    # Methods that run in the server's own thread; the first ones are called by aiosmtpd.

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        with self._lock:
            self.sessions += 1
        session.host_name = hostname
        return [*responses[:-1], *(f"250-{one}" for one in self.extensions), responses[-1]]

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Sequence[str]
    ) -> str:
        await self._stand(server, "rcpt")
        with self._lock:
            answer = self._recipient_answers.get(address, "250 OK")
        if answer == DROP:
            server.transport.abort()
        elif answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await self._stand(server, "data")
        with self._lock:
            answer = self._data_answers.pop(0) if self._data_answers else "250 OK"
            if answer.startswith("2") or answer == "take and drop":
                asked = self.asked.get(id(session), ())
                self._delivered.append(_delivered(session, envelope, asked))
        if answer in (DROP, "take and drop"):
            server.transport.abort()
            return "421 cut"
        return answer

    async def hang_up(self) -> None:
        """End the connections that clients keep."""
        for transport in self.transports:
            transport.abort()
        for _ in range(3):  # lets the callbacks of the aborted connections run
            await asyncio.sleep(0)

    async def _stand(self, server: Any, stage: str) -> None:
        self._reached[stage].set()
        deadline = asyncio.get_running_loop().time() + HOLD_SECONDS
        while stage in self._holding and asyncio.get_running_loop().time() < deadline:
            if server.transport is None or server.transport.is_closing():
                return
            await asyncio.sleep(0.01)


def _delivered(session: Any, envelope: Any, asked: Sequence[str]) -> Delivered:
    signed_in = session.auth_data.login.decode() if session.authenticated else None
    return Delivered(
        sender=envelope.mail_from,
        recipients=tuple(envelope.rcpt_tos),
        raw=envelope.original_content,
        greeting=session.host_name,
        asked=" ".join(asked),
        signed_in_as=signed_in,
        was_encrypted=session.ssl is not None,
    )


@contextmanager
def running_smtp(
    *,
    smtputf8: bool = True,
    starttls: ssl.SSLContext | None = None,
    credentials: tuple[str, str] | None = None,
    extensions: tuple[str, ...] = (),
) -> Iterator[SmtpServer]:
    """Run a server on a free port; with `credentials` it needs a sign-in."""
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

    class Offering(SMTP):
        """The library's server that also keeps the parameters of RFC 3461."""

        def connection_made(self, transport: Any) -> None:
            mailbox.transports.append(transport)
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            mailbox.flights.append(data)
            super().data_received(data)

        async def smtp_MAIL(self, arg: str | None) -> None:
            mailbox.asked[id(self.session)] = ()
            await super().smtp_MAIL(self._keeping(arg, ("RET=", "ENVID=")))

        async def smtp_RCPT(self, arg: str | None) -> None:
            await super().smtp_RCPT(self._keeping(arg, ("NOTIFY=", "ORCPT=")))

        def _keeping(self, arg: str | None, names: tuple[str, ...]) -> str | None:
            words = (arg or "").split(" ")
            if "DSN" in extensions:
                kept = tuple(word for word in words if word.startswith(names))
                mailbox.asked[id(self.session)] += kept
                words = [word for word in words if not word.startswith(names)]
            return arg if arg is None else " ".join(words)

    class Offered(Controller):
        def factory(self) -> Any:
            return Offering(self.handler, **self.SMTP_kwargs)

    def authenticate(
        server: Any, session: Any, envelope: Any, mechanism: str, data: object
    ) -> object:
        expected = credentials and LoginPassword(credentials[0].encode(), credentials[1].encode())
        return AuthResult(success=data == expected, handled=False, auth_data=data)

    mailbox = SmtpServer(free_port())
    mailbox.extensions = extensions
    controller = Offered(
        mailbox,
        hostname=mailbox.host,
        port=mailbox.port,
        ready_timeout=20.0,
        enable_SMTPUTF8=smtputf8,
        tls_context=starttls,
        require_starttls=starttls is not None,
        authenticator=authenticate if credentials else None,
        auth_required=credentials is not None,
        auth_require_tls=starttls is not None,
    )
    controller.start()
    try:
        yield mailbox
    finally:
        mailbox.release()
        asyncio.run_coroutine_threadsafe(mailbox.hang_up(), controller.loop).result(HOLD_SECONDS)
        controller.stop()


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """A fresh SMTP server with an empty mailbox."""
    need("aiosmtpd", "it is the mail server of the tests; install the dev requirements")
    with running_smtp() as server:
        yield server
