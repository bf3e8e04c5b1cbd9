"""Providers imitated from their published descriptions, over HTTP.

Every request must match the description: method, address, query and body. Every answer of the
imitation must match the description too, so that the imitation cannot drift towards the connector.
The descriptions in `contracts/` are extracts of published ones, each with its source and its
licence.
"""

import json
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema

from tests.servers.over_http import Answering, listening

_NO_HEADERS: Mapping[str, str] = {}
CONTRACTS = Path(__file__).parent / "contracts"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request of the description."""

    operation: str  # "GET /users/{userId}"
    parameters: dict[str, str]
    query: dict[str, str]
    body: Any

    @property
    def method(self) -> str:
        return self.operation.partition(" ")[0]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Answer to the next request of a method, in place of a valid one."""

    method: str
    status: int = 0  # 0: the connection drops
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    takes_place: bool = False  # whether the request takes effect all the same


class Description:
    """The operations that a provider publishes."""

    def __init__(self, name: str) -> None:
        self._text = json.loads((CONTRACTS / f"{name}.json").read_text())
        self._routes = [
            (
                operation["method"],
                re.compile(re.sub(r"\{([^}]+)\}", r"([^/]+)", operation["path"])),
                re.findall(r"\{([^}]+)\}", operation["path"]),
                operation,
            )
            for operation in self._text["operations"]
        ]

    def read(self, method: str, target: str, content: bytes) -> tuple[Call, Any] | None:
        """Match and check a request; return None if the description lacks it."""
        parts = urlsplit(target)
        for of_method, pattern, names, operation in self._routes:
            match = pattern.fullmatch(parts.path)
            if of_method != method or match is None:
                continue
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            assert query.keys() <= operation["query"].keys(), f"no such parameter: {query}"
            body = json.loads(content) if content else None
            assert (body is None) == (operation["body"] is None), "a body, or none, is missing"
            if body is not None:
                self._check(body, operation["body"])
                fields = self._fields(operation["body"])
                assert body.keys() <= fields, f"no such field: {body.keys() - fields}"
            call = Call(
                operation=f"{method} {operation['path']}",
                parameters=dict(zip(names, map(unquote, match.groups()), strict=True)),
                query=query,
                body=body,
            )
            return call, operation
        return None

    def check_answer(self, operation: Any, status: int, body: Any) -> None:
        """Compare an answer with the description; it may not be an error."""
        if status >= 400:
            return
        assert str(status) in operation["responses"], f"no such answer: {status}"
        schema = operation["responses"][str(status)]
        assert (body is None) == (schema is None)
        if schema is not None:
            self._check(body, schema)

    def _check(self, value: Any, schema: Any) -> None:
        jsonschema.validate(value, {**schema, "schemas": self._text["schemas"]})

    def _fields(self, schema: Any) -> set[str]:
        named = self._text["schemas"][schema["$ref"].rpartition("/")[2]]
        return set(named["properties"])


class Provider(ABC):
    """An imitated provider: its accounts and received requests."""

    contract: str  # the name of the description

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.tokens_given = 0
        self.broken: list[str] = []  # requests that do not match the description
        self.faults: list[Fault] = []
        self.guard = threading.RLock()
        self.let_go = threading.Event()

    @abstractmethod
    def is_authorised(self, authorization: str) -> bool:
        """Return whether the credential of a request is valid."""

    @abstractmethod
    def act(self, call: Call) -> tuple[int, Any]:
        """Answer as the provider does."""

    def headers(self, call: Call) -> dict[str, str]:
        """Return the additional headers of a successful answer."""
        return {}

    def give_token(self, path: str, form: dict[str, str]) -> dict[str, Any] | None:
        """Answer at the token end point; None for another path or client."""
        return None

    def count(self, method: str) -> int:
        with self.guard:
            return sum(call.method == method for call in self.calls)

    def take_fault(self, method: str) -> Fault | None:
        with self.guard:
            for fault in self.faults:
                if fault.method == method:
                    self.faults.remove(fault)
                    return fault
        return None


@contextmanager
def serving(provider: Provider) -> Iterator[None]:
    """Run the provider in a thread; fail on a request that is not described."""
    description = Description(provider.contract)

    class Handler(Answering):
        def _serve(self) -> None:
            content = self.body()
            if len(content) < int(self.headers.get("Content-Length", 0)):
                self.close_connection = True  # the client closed the connection during the answer
                return
            if self.headers.get("Content-Type") == "application/x-www-form-urlencoded":
                form = {key: values[0] for key, values in parse_qs(content.decode()).items()}
                token = provider.give_token(self.path, form)
                with provider.guard:
                    provider.tokens_given += token is not None
                self._reply(200 if token else 401, token or {"error": "invalid_client"})
                return
            try:
                found = description.read(self.command, self.path, content)
                assert found is not None, "no such operation"
                self._answer(*found)
            except (AssertionError, ValueError, jsonschema.ValidationError) as error:
                provider.broken.append(f"{self.command} {self.path}: {error}")
                self._reply(400, {})

        def _answer(self, call: Call, operation: Any) -> None:
            if not provider.is_authorised(self.headers.get("Authorization", "")):
                self._reply(401, {})
                return
            fault = provider.take_fault(call.method)
            with provider.guard:
                provider.calls.append(call)
                if fault is None or fault.takes_place:
                    status, body = provider.act(call)
                    description.check_answer(operation, status, body)
            if fault is None:
                self._reply(status, body, provider.headers(call))
            elif fault.status == 0:
                self.close_connection = True
            else:
                self.answer(fault.status, fault.body, dict(fault.headers))

        def _reply(self, status: int, body: Any, headers: Mapping[str, str] = _NO_HEADERS) -> None:
            self.answer(status, b"" if body is None else json.dumps(body).encode(), dict(headers))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    with listening(Handler) as port:
        provider.url = f"http://127.0.0.1:{port}"
        yield
    assert provider.broken == []
