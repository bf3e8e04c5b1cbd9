"""A stateful imitation of Amazon SES's SendEmail, over loopback HTTP.

The SDK checks each call against AWS's own description (API v2) before it is sent; this module
imitates the effects of the calls.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.servers.over_http import Answering, listening


@dataclass(kw_only=True)
class Ses:
    """Accepted messages, and the answers to the next calls."""

    url: str = ""
    taken: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)  # by address
    account_error: tuple[int, str] | None = None
    # Addresses of accepted messages that get no answer.
    silent: set[str] = field(default_factory=set)
    # Addresses for which the connection ends without an answer.
    dropped: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)  # the address of every call, in order
    let_go: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def running_ses() -> Iterator[Ses]:
    """Run an account on a free port."""
    account = Ses()

    class Handler(Answering):
        def do_GET(self) -> None:
            error = account.account_error
            self._reply(200, {}) if error is None else self._fail(*error)

        def do_POST(self) -> None:
            body = json.loads(self.body())
            (address,) = body["Destination"]["ToAddresses"]
            with account.guard:
                account.asked.append(address)
            if address in account.dropped:
                self.close_connection = True
                return
            error = account.account_error or account.errors.get(address)
            if error is not None:
                self._fail(*error)
                return
            with account.guard:
                account.taken.append(body)
            if address in account.silent:
                account.let_go.wait(60)
                self.close_connection = True
                return
            self._reply(200, {"MessageId": f"made-up-{len(account.taken)}"})

        def _fail(self, status: int, code: str) -> None:
            self._reply(status, {"message": "names somebody@customers.test"}, code)

        def _reply(self, status: int, body: Any, code: str = "") -> None:
            headers = {"Content-Type": "application/json"}
            if code:
                headers["x-amzn-ErrorType"] = code
            self.answer(status, json.dumps(body).encode(), headers)

    with listening(Handler) as port:
        account.url = f"http://127.0.0.1:{port}"
        try:
            yield account
        finally:
            account.let_go.set()


@pytest.fixture
def ses_server() -> Iterator[Ses]:
    """A new account without messages."""
    with running_ses() as account:
        yield account
