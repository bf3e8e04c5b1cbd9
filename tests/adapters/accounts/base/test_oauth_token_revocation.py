"""Revocation and probes of tokens at unreliable end points."""

import base64
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest

from standfast.adapters.accounts.base.oauth_token_revocation import (
    ProbeResult,
    TokenProbe,
    TokenRevocation,
    known_tokens,
    probe_tokens,
    revoke_tokens,
)
from standfast.errors import SecretMissing, Unavailable
from standfast.http_client import HttpClient
from standfast.records import EffectState, Json, Order, Result
from standfast.time_limit import Deadline
from tests.adapters.accounts.scripted import (
    Behaviour,
    Exchange,
    Scripted,
    replying,
    scripted_directory,
)
from tests.servers import growing


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_directory() as directory:
        yield directory


@pytest.fixture
def http() -> Iterator[HttpClient]:
    http = HttpClient()
    yield http
    http.close()


def order(*tokens: Json) -> Order:
    return Order(token="t", verb="accounts.revoke", target="alice", details={"tokens": tokens})


def revoke(http: HttpClient, server: Scripted, *tokens: str, seconds: float = 10.0) -> Result:
    revocation = TokenRevocation(
        url=f"{server.url}/revoke", client_id="agent:desktop", client_secret="p%ss word"
    )
    return revoke_tokens(http, revocation, order(*tokens), Deadline(seconds))


def probe(http: HttpClient, server: Scripted, *tokens: Json) -> ProbeResult:
    at = TokenProbe(url=f"{server.url}/userinfo", control_token="control")
    return probe_tokens(http, at, order(*tokens), Deadline(10))


def letting_in(*good: str, otherwise: int = 401) -> Behaviour:
    """Accept these tokens and answer all others with one status."""

    def behave(exchange: Exchange) -> None:
        token = exchange.asked.headers["Authorization"].removeprefix("Bearer ")
        exchange.reply(200 if token in good else otherwise)

    return behave


def test_every_token_is_revoked_as_its_client(http: HttpClient, server: Scripted) -> None:
    server.script("POST", replying(200), replying(200))
    assert revoke(http, server, "first", "a&b=c").state is EffectState.DONE
    forms = [parse_qs(asked.body.decode()) for asked in server.asked]
    assert forms == [{"token": ["first"]}, {"token": ["a&b=c"]}]
    scheme, pair = server.asked[0].headers["Authorization"].split()
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"agent%3Adesktop:p%25ss+word")


@pytest.mark.parametrize(
    ("behaviour", "state", "retry_after_seconds"),
    [
        (replying(200), EffectState.DONE, None),
        (replying(400), EffectState.FAILED, None),
        (replying(401), EffectState.FAILED, None),
        (replying(503, Retry_After="9"), EffectState.FAILED, 9.0),
        (replying(500), EffectState.UNKNOWN, None),
        (lambda exchange: exchange.drop(), EffectState.UNKNOWN, None),
    ],
)
def test_worst_outcome_is_reported_after_all_tokens(
    http: HttpClient,
    server: Scripted,
    behaviour: Behaviour,
    state: EffectState,
    retry_after_seconds: float | None,
) -> None:
    server.script("POST", replying(200), behaviour, replying(200))
    result = revoke(http, server, "first", "second", "third")
    assert (result.state, result.retry_after_seconds) == (state, retry_after_seconds)
    assert server.count("POST") == 3


def test_revocation_without_an_answer_is_unknown(http: HttpClient, server: Scripted) -> None:
    server.script("POST", lambda exchange: exchange.hang())
    for seconds in growing(0.5):
        result = revoke(http, server, "first", seconds=seconds)
        if server.count("POST"):
            break
    assert result.state is EffectState.UNKNOWN


def test_no_token_shows_in_a_reason(http: HttpClient, server: Scripted) -> None:
    server.script("POST", replying(400, b"token hunter2 is not yours"))
    assert "hunter2" not in revoke(http, server, "hunter2").reason


def test_proof_needs_every_token_refused(http: HttpClient, server: Scripted) -> None:
    server.script("GET", *[letting_in("control")] * 3)
    assert probe(http, server, "first", "second") is ProbeResult.CLOSED


def test_proof_fails_when_a_token_is_accepted(http: HttpClient, server: Scripted) -> None:
    server.script("GET", *[letting_in("control", "second")] * 3)
    assert probe(http, server, "first", "second") is ProbeResult.OPEN


@pytest.mark.parametrize("status", [403, 404, 302, 500])
def test_only_a_401_turns_a_token_away(http: HttpClient, server: Scripted, status: int) -> None:
    server.script("GET", *[letting_in("control", otherwise=status)] * 2)
    assert probe(http, server, "first") is ProbeResult.UNCLEAR


def test_probe_that_refuses_everybody_proves_nothing(http: HttpClient, server: Scripted) -> None:
    server.script("GET", *[letting_in()] * 2)
    assert probe(http, server, "first") is ProbeResult.UNCLEAR


@pytest.mark.parametrize("tokens", [(), ("two words",), ("line\nbreak",), ("",), (7, None)])
def test_tokens_that_no_header_carries_show_nothing(
    http: HttpClient, server: Scripted, tokens: tuple[Json, ...]
) -> None:
    assert probe(http, server, *tokens) is ProbeResult.UNCLEAR
    assert server.count("GET") == 0


@pytest.mark.parametrize(
    ("listed", "result"),
    [
        ("Alice first\nbob other\n", ProbeResult.CLOSED),
        ("alice control\n", ProbeResult.OPEN),
        ("bob first\nalice\n", ProbeResult.UNCLEAR),
    ],
)
def test_listed_tokens_are_probed(
    http: HttpClient, server: Scripted, listed: str, result: ProbeResult
) -> None:
    server.script("GET", *[letting_in("control")] * 3)
    at = TokenProbe(url=f"{server.url}/userinfo", control_token="control", listed=lambda: listed)
    assert probe_tokens(http, at, order(), Deadline(10)) is result


def test_unreadable_list_is_no_proof(http: HttpClient, server: Scripted) -> None:
    def listed() -> str:
        raise SecretMissing("known tokens: not readable")

    at = TokenProbe(url=f"{server.url}/userinfo", control_token="control", listed=listed)
    assert probe_tokens(http, at, order(), Deadline(10)) is ProbeResult.UNCLEAR


def test_silent_probe_is_no_proof(http: HttpClient, server: Scripted) -> None:
    server.script("GET", letting_in("control"), lambda exchange: exchange.drop())
    with pytest.raises(Unavailable):
        probe(http, server, "first")


@pytest.mark.parametrize("tokens", [None, "one string", 7, {}, {"a": "b"}])
def test_tokens_that_are_no_list_are_none(tokens: Json) -> None:
    assert known_tokens(Order(token="t", verb="v", target="a", details={"tokens": tokens})) == ()
