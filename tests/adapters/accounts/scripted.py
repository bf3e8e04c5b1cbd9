"""A SCIM directory that misbehaves on command, over real HTTP on loopback.

Without a script it answers correctly. `script(method, behaviour)` sets the behaviour for the next
requests of that method; a behaviour decides the answer and whether the change takes effect.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.over_http import Answering, listening

TOKEN = "scripted-token"
HOLD_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One received request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Account:
    """One account; `shown` replaces the sent value of `active`."""

    id: str
    name: str
    active: bool = True
    shown: Any = ...

    def as_json(self) -> dict[str, Any]:
        fields = {"id": self.id, "userName": self.name}
        active = self.active if self.shown is ... else self.shown
        return fields if active is None else {**fields, "active": active}


class Exchange:
    """One request and its possible answers, for a behaviour."""

    def __init__(self, handler: Answering, asked: Asked, directory: "Scripted") -> None:
        self.asked = asked
        self._handler = handler
        self._directory = directory

    def apply(self) -> tuple[int, bytes]:
        """Apply the request as a correct directory does; return the answer."""
        return self._directory.answer(self.asked)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._handler.answer(status, body, named)

    def drop(self) -> None:
        self._handler.close_connection = True

    def hang(self) -> None:
        """Do not answer until the test ends, then answer normally."""
        self._directory.let_go.wait(HOLD_SECONDS)
        self._handler.close_connection = True

    def drip_headers(self) -> None:
        """Send header lines slowly, each within the time-out of one read."""
        self._drip(b"HTTP/1.1 200 OK\r\n", b"X-Patience: please\r\n")

    def drip_body(self) -> None:
        """Send a few bytes at intervals, and never the last ones."""
        self._drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"    ")

    def _drip(self, start: bytes, drop: bytes) -> None:
        self._handler.close_connection = True
        self._handler.wfile.write(start)
        while not self._directory.let_go.wait(0.02):
            self._handler.wfile.write(drop)
            self._handler.wfile.flush()


Behaviour: TypeAlias = Callable[[Exchange], None]


@dataclass(kw_only=True)
class Scripted:
    """The directory's accounts, its script, and received requests."""

    url: str = ""
    page_size: int = 100
    ignores_filters: bool = False
    takes_or: bool = True
    # The Bulk part of ServiceProviderConfig; None: the page is missing.
    offers: dict[str, Any] | None = None
    refusals: dict[str, str] = field(default_factory=dict)  # path → the status in a Bulk answer
    accounts: list[Account] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    _script: list[tuple[str, Behaviour]] = field(default_factory=list)
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def add(self, name: str, *, account_id: str = "", active: bool = True) -> Account:
        account = Account(id=account_id or f"id-{name}", name=name, active=active)
        self.accounts.append(account)
        return account

    def script(self, method: str, *behaviours: Behaviour) -> None:
        """Set behaviours of the next requests of this method, one each."""
        with self._guard:
            self._script.extend((method, behaviour) for behaviour in behaviours)

    def count(self, method: str, path: str = "") -> int:
        with self._guard:
            return sum(asked.method == method and path in asked.path for asked in self.asked)

    def take(self, asked: Asked) -> Behaviour:
        with self._guard:
            self.asked.append(asked)
            for index, (method, behaviour) in enumerate(self._script):
                if method == asked.method:
                    del self._script[index]
                    return behaviour
        return _well

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        """Answer as a correct directory does."""
        with self._guard:
            if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, b"{}"
            if asked.method == "GET" and asked.path == "/Users":
                if not self.takes_or and " or " in asked.query.get("filter", [""])[0]:
                    return 400, b"{}"
                return 200, self._list(asked.query)
            if asked.path == "/ServiceProviderConfig" and self.offers is not None:
                return 200, json.dumps({"bulk": self.offers}).encode()
            if asked.path == "/Bulk" and self.offers is not None:
                return 200, self._bulk(json.loads(asked.body)["Operations"])
            account = self._at(asked.path)
            if account is None:
                return 404, b"{}"
            if asked.method == "PATCH":
                self._patch(account, json.loads(asked.body))
            return 200, json.dumps(account.as_json()).encode()

    def _at(self, path: str) -> Account | None:
        return next((found for found in self.accounts if path == f"/Users/{found.id}"), None)

    def _patch(self, account: Account, body: Any) -> None:
        (operation,) = body["Operations"]
        assert (operation["op"], operation["path"]) == ("replace", "active")
        account.active = operation["value"]

    def _bulk(self, operations: list[Any]) -> bytes:
        assert self.offers is not None
        assert len(operations) <= self.offers["maxOperations"]
        answers = []
        for operation in operations:
            assert operation["method"] == "PATCH"
            account = self._at(operation["path"])
            status = self.refusals.get(operation["path"], "404" if account is None else "200")
            if account is not None and status == "200":
                self._patch(account, operation["data"])
            answers.append(
                {"method": "PATCH", "location": self.url + operation["path"], "status": status}
            )
        return json.dumps({"Operations": answers}).encode()

    def _list(self, query: dict[str, list[str]]) -> bytes:
        wanted = {
            (attribute, json.loads(value).lower())
            for attribute, value in re.findall(
                r'(userName|id) eq ("(?:[^"\\]|\\.)*")', query.get("filter", [""])[0]
            )
        }
        found = [
            account
            for account in self.accounts
            if self.ignores_filters
            or "filter" not in query
            or wanted & {("userName", account.name.lower()), ("id", account.id.lower())}
        ]
        start = int(query.get("startIndex", ["1"])[0]) - 1
        page = found[start : start + self.page_size]
        return json.dumps(
            {"totalResults": len(found), "Resources": [account.as_json() for account in page]}
        ).encode()


def _well(exchange: Exchange) -> None:
    exchange.reply(*exchange.apply())


def replying(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Return a behaviour that answers and changes nothing."""
    return lambda exchange: exchange.reply(status, body, **headers)


def applying_then(behaviour: Behaviour) -> Behaviour:
    """Return a behaviour that applies the change first."""

    def behave(exchange: Exchange) -> None:
        exchange.apply()
        behaviour(exchange)

    return behave


@contextmanager
def scripted_directory() -> Iterator[Scripted]:
    """Run the directory in a thread, on a free port."""
    directory = Scripted()

    class Handler(Answering):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(
                method=self.command,
                path=unquote(parts.path).removeprefix("/scim"),
                query=parse_qs(parts.query, keep_blank_values=True),
                headers=dict(self.headers.items()),
                body=self.body(),
            )
            behaviour = directory.take(asked)
            try:
                behaviour(Exchange(self, asked, directory))
            except OSError:
                self.close_connection = True  # the client disconnected first, as some tests intend

        do_GET = do_PATCH = do_POST = _serve

    with listening(Handler) as port:
        directory.url = f"http://127.0.0.1:{port}/scim"
        try:
            yield directory
        finally:
            directory.let_go.set()
