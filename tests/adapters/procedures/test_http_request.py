import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest

from standfast.adapters.procedures.http_request import Request
from standfast.config.sections.procedures import RequestConfig
from standfast.errors import ConfigurationError
from standfast.records import EffectState, Order
from tests.adapters.procedures.contract import ProcedureContract, Yard
from tests.adapters.settings import reveal, settings_of
from tests.servers import growing
from tests.servers.over_http import Answering, listening

HOST = {"host": {"type": "host"}}
TEXT = {"host": {"type": "text"}}


def clock() -> datetime:
    return datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(kw_only=True)
class Firewall:
    """An API that isolates hosts: PUT, GET and DELETE of /hosts/NAME."""

    url: str = ""
    hosts: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    # Used in place of the usual answers.
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False
    requests: list[Request] = field(default_factory=list)

    def isolating(self, **others: Any) -> Request:
        self.requests.append(isolating(self.url, **others))
        return self.requests[-1]


@contextmanager
def firewall() -> Iterator[Firewall]:
    there = Firewall()

    class Handler(Answering):
        def do(self) -> None:
            body = self.body()
            there.asked.append((self.command, self.path, dict(self.headers), body))
            if there.hangs:
                there.let_go.wait(60)
                self.close_connection = True
                return
            if there.answers:
                status, headers, content = there.answers.pop(0)
                self.answer(status, content, headers)
                return
            host = unquote(self.path.rpartition("/")[2])
            if self.command == "PUT":
                there.hosts[host] = "isolated"
            elif self.command == "DELETE":
                there.hosts.pop(host, None)
            elif host not in there.hosts:
                self.answer(404, b"{}")
                return
            self.answer(200, json.dumps({"host": {"state": there.hosts.get(host)}}).encode())

        do_GET = do_PUT = do_POST = do_DELETE = do

    with listening(Handler) as port:
        there.url = f"http://127.0.0.1:{port}"
        try:
            yield there
        finally:
            there.let_go.set()
            for request in there.requests:
                request.close()


@pytest.fixture
def there() -> Iterator[Firewall]:
    with firewall() as found:
        yield found


def isolating(url: str, *, unchecked: Mapping[str, Any] | None = None, **others: Any) -> Request:
    """Build a request; `unchecked` settings skip the configuration's checks."""
    place = f"{url}/hosts/{{host}}"
    settings: dict[str, Any] = {
        "method": "PUT",
        "url": place,
        "body": {"why": "{host}", "n": 1},
        "observe": {"url": place, "field": "host.state", "value": "isolated"},
        "undo": {"method": "DELETE", "url": place},
        "parameters": HOST,
        "timeout_seconds": 2.0,
    }
    made = settings_of(RequestConfig, **settings | others).model_copy(update=unchecked or {})
    return Request("requests.isolate", made, reveal=reveal, clock=clock)


def order(host: str = "pc-1", token: str = "f00d") -> Order:
    return Order(
        token=token, verb="http.request", target=host, details={"parameters": {"host": host}}
    )


class FirewallYard(Yard):
    def __init__(self, there: Firewall) -> None:
        self.there = there
        self.procedure = there.isolating()

    def is_isolated(self, host: str) -> bool:
        return host in self.there.hosts


class TestRequest(ProcedureContract):
    @pytest.fixture
    def yard(self, there: Firewall) -> Yard:
        return FirewallYard(there)


def test_secrets_travel_in_headers_and_are_not_kept(there: Firewall) -> None:
    request = there.isolating(bearer="b34rer", secrets={"X-Key": "k3y"}, headers={"X-A": "1"})
    there.answers.append((200, {}, b"you sent k3y and b34rer"))
    (result,) = request.run([order(token="cafe")])
    (method, path, headers, body) = there.asked[0]
    assert (method, path) == ("PUT", "/hosts/pc-1")
    assert headers["Idempotency-Key"] == "cafe"
    assert headers["Authorization"] == "Bearer b34rer"
    assert headers["X-Key"] == "k3y"
    assert headers["X-A"] == "1"
    assert json.loads(body) == {"why": "pc-1", "n": 1}
    assert result.facts["output"] == "you sent [secret] and [secret]"


def test_a_parameter_cannot_leave_its_place(there: Firewall) -> None:
    request = there.isolating(parameters=TEXT)
    for host in ("../admin", "..", "a?b=c#d", 'x", "admin": "y', "a b%2f"):
        there.asked.clear()
        request.run([order(host)])
        (_, path, _, body) = there.asked[0]
        assert path.startswith("/hosts/")
        assert path.count("/") == 2
        assert "?" not in path
        assert unquote(path.removeprefix("/hosts/")) == host
        assert json.loads(body) == {"why": host, "n": 1}


@pytest.mark.parametrize(
    ("status", "headers", "state", "retry_after"),
    [
        (202, {}, EffectState.DONE, None),
        (403, {}, EffectState.FAILED, None),
        (302, {"Location": "http://127.0.0.1:1/"}, EffectState.FAILED, None),
        (429, {"Retry-After": "7"}, EffectState.FAILED, 7.0),
        (503, {}, EffectState.FAILED, 1.0),
        (500, {}, EffectState.UNKNOWN, None),
        (502, {}, EffectState.UNKNOWN, None),
    ],
)
def test_its_status_says_what_it_came_to(
    there: Firewall,
    status: int,
    headers: dict[str, str],
    state: EffectState,
    retry_after: float | None,
) -> None:
    there.answers.append((status, headers, b""))
    (result,) = there.isolating().run([order()])
    assert result.state is state
    assert result.retry_after_seconds == retry_after
    assert result.facts["status"] == status
    assert len(there.asked) == 1


def test_silence_after_sending_is_unknown(there: Firewall) -> None:
    there.hangs = True
    for seconds in growing(0.3):
        (result,) = there.isolating(timeout_seconds=seconds).run([order()])
        if there.asked:
            break
    assert result.state is EffectState.UNKNOWN
    (nobody,) = isolating("http://127.0.0.1:1").run([order()])
    assert nobody.state is EffectState.FAILED
    assert nobody.retry_after_seconds is not None


def test_unclear_observation_is_repeated(there: Firewall) -> None:
    request = there.isolating()
    there.answers += [(500, {}, b""), (200, {}, b"<html>"), (200, {}, b'{"host": []}')]
    assert [request.observe([order()])[0].is_readable for _ in range(3)] == [False, False, True]
    there.answers.append((200, {}, b'{"host": {"state": "isolating"}}'))
    assert request.observe([order()])[0].happened is False


def test_a_configuration_that_opens_a_door_is_refused() -> None:
    for url in (
        "http://{host}/x",
        "https://user:word@example.com/{host}",
        "file:///etc/{host}",
        "/hosts/{host}",
        "https://example.com/{user}",
        "https://example.com/{host}#x",
    ):
        with pytest.raises(ConfigurationError):
            isolating("https://example.com", unchecked={"url": url})
    with pytest.raises(ConfigurationError, match="header"):
        isolating("https://example.com", unchecked={"headers": {"X": "a\r\nY: b"}})
