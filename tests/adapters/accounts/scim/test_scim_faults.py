"""SCIM connector against a directory that stalls, throttles or lies."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast import http_client
from standfast.adapters.accounts.scim.connector import ScimConnector
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.scripted import (
    Behaviour,
    Exchange,
    Scripted,
    applying_then,
    replying,
)
from tests.adapters.accounts.scripted_scim import alice, connect, lock, order
from tests.servers import growing

ABSENT_AUTHORITY = Path("no-such-authority.pem")


@pytest.fixture
def hasty(directory: Scripted) -> Iterator[ScimConnector]:
    """A connector with short time-outs, for servers that never answer."""
    connector = connect(directory.url, seconds=0.3)
    yield connector
    connector.close()


def hang(exchange: Exchange) -> None:
    exchange.hang()


def drop(exchange: Exchange) -> None:
    exchange.drop()


def drip_headers(exchange: Exchange) -> None:
    exchange.drip_headers()


def drip_body(exchange: Exchange) -> None:
    exchange.drip_body()


# The credential of the connector.


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_refused_credential_is_reported_and_not_retried(
    directory: Scripted, connector: ScimConnector, method: str, status: int
) -> None:
    directory.script(method, replying(status, b"secret detail"))
    result = lock(connector)
    assert result.state is EffectState.FAILED
    assert "refuses the configured credential" in result.reason
    assert "secret detail" not in result.reason
    assert result.retry_after_seconds is None
    assert alice(directory)


def test_a_refused_credential_is_not_an_absent_account(directory: Scripted) -> None:
    connector = connect(directory.url, token="expired")
    with pytest.raises(Unavailable, match="refuses the configured credential") as caught:
        connector.observe(["alice"])
    connector.close()
    assert "expired" not in str(caught.value)
    assert "alice" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökén"])
def test_invalid_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect("http://127.0.0.1:1", token=token)
    assert not token or token not in str(caught.value)


def test_missing_certificate_file_is_a_configuration_error() -> None:
    connector = connect("https://127.0.0.1:1", ca_file=ABSENT_AUTHORITY)
    with pytest.raises(ConfigurationError, match="ca_file"):
        connector.observe(["alice"])


# A busy directory.


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asks", "seconds"),
    [
        ("7", 7.0),
        ("Mon, 05 Jan 2026 03:00:30 GMT", 30.0),
        ("Mon, 05 Jan 2026 02:00:00 GMT", 1.0),
        ("999999999", 300.0),
        ("soon", 1.0),
        ("", 1.0),
    ],
)
def test_busy_directory_is_retried_when_it_asks(
    directory: Scripted,
    connector: ScimConnector,
    method: str,
    status: int,
    asks: str,
    seconds: float,
) -> None:
    directory.script(method, replying(status, Retry_After=asks))
    result = lock(connector)
    assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, seconds)
    assert directory.count("PATCH") == (method == "PATCH")
    assert alice(directory)


# Changes that may have taken effect.


@pytest.mark.parametrize(
    ("behaviour", "still_active"), [(drop, True), (applying_then(drop), False)]
)
def test_dropped_change_is_unknown_and_sent_once(
    directory: Scripted, connector: ScimConnector, behaviour: Behaviour, still_active: bool
) -> None:
    directory.script("PATCH", behaviour)
    result = lock(connector)
    assert result.state is EffectState.UNKNOWN
    assert alice(directory) is still_active
    assert directory.count("PATCH") == 1


def test_unanswered_change_is_unknown(directory: Scripted) -> None:
    directory.script("PATCH", applying_then(hang))
    for seconds in growing(0.5):
        connector = connect(directory.url, seconds=seconds)
        result = lock(connector)
        connector.close()
        if directory.count("PATCH"):
            break
    assert result.state is EffectState.UNKNOWN
    assert directory.count("PATCH") == 1


def test_invalid_http_leaves_a_change_unknown(
    directory: Scripted, connector: ScimConnector
) -> None:
    def babble(exchange: Exchange) -> None:
        exchange._handler.wfile.write(b"220 mail.test ESMTP\r\n\r\n")
        exchange.drop()

    directory.script("PATCH", babble)
    assert lock(connector).state is EffectState.UNKNOWN


@pytest.mark.parametrize("status", [200, 204, 500, 502])
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b'{"id": []}'])
def test_a_garbled_answer_is_settled_by_reading_back(
    directory: Scripted, connector: ScimConnector, status: int, body: bytes
) -> None:
    content = b"" if status == 204 else body
    directory.script("PATCH", applying_then(replying(status, content)))
    result = lock(connector)
    assert (result.state, result.proof) == (EffectState.DONE, Proof.READ_BACK)
    assert not alice(directory)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_broken_answer_without_visible_effect_is_unknown(
    directory: Scripted, connector: ScimConnector, status: int
) -> None:
    directory.script("PATCH", replying(status))
    assert lock(connector).state is EffectState.UNKNOWN


def test_a_success_without_effect_is_a_failure(
    directory: Scripted, connector: ScimConnector
) -> None:
    lie = json.dumps({"id": "id-alice", "userName": "alice", "active": False}).encode()
    directory.script("PATCH", replying(200, lie))
    result = lock(connector)
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds is not None
    assert "reported success" in result.reason


@pytest.mark.parametrize(
    "reading", [replying(500), replying(200, b"?"), drop, replying(200, b'{"id":"x"}')]
)
def test_change_that_cannot_be_read_is_unknown(
    directory: Scripted, connector: ScimConnector, reading: Behaviour
) -> None:
    directory.script("GET", lambda exchange: exchange.reply(*exchange.apply()), reading)
    assert lock(connector).state is EffectState.UNKNOWN


def test_reading_back_another_account_proves_nothing(
    directory: Scripted, connector: ScimConnector
) -> None:
    other = json.dumps({"id": "id-bob", "userName": "bob", "active": False}).encode()
    directory.script(
        "GET", lambda exchange: exchange.reply(*exchange.apply()), replying(200, other)
    )
    assert lock(connector).state is EffectState.UNKNOWN


@pytest.mark.parametrize(
    ("status", "state", "may_retry"),
    [
        (302, EffectState.FAILED, False),
        (400, EffectState.REFUSED, False),
        (404, EffectState.REFUSED, False),
        (409, EffectState.FAILED, True),
        (412, EffectState.FAILED, True),
    ],
)
def test_rejected_change_did_not_happen(
    directory: Scripted,
    connector: ScimConnector,
    status: int,
    state: EffectState,
    may_retry: bool,
) -> None:
    directory.script("PATCH", replying(status, Location="http://127.0.0.1:1/elsewhere"))
    result = lock(connector)
    assert result.state is state
    assert (result.retry_after_seconds is not None) is may_retry
    assert directory.count("PATCH") == 1


def test_no_change_is_sent_without_need(directory: Scripted, connector: ScimConnector) -> None:
    (before,) = connector.observe(["alice"])
    first, second = lock(connector), lock(connector)
    assert (first.facts["changed"], second.facts["changed"]) == (True, False)
    assert directory.count("PATCH") == 1
    connector.undo([order("undo", prior=before.prior)])
    connector.undo([order("undo", prior=before.prior)])
    assert directory.count("PATCH") == 2
    assert alice(directory)


# Reads that stall or return nonsense: nothing was changed, so no outcome is unknown.


@pytest.mark.parametrize(
    "behaviour",
    [
        drop,
        replying(500),
        replying(200, b"<html>"),
        replying(200, b"[]"),
        replying(200, b'{"totalResults": "many", "Resources": []}'),
        replying(200, b'{"totalResults": 1, "Resources": [{"id": 7, "userName": "alice"}]}'),
        replying(200, b'{"totalResults": 1, "Resources": [{"id": "..", "userName": "alice"}]}'),
        replying(200, b"[" * 100_000),
    ],
)
def test_failed_look_up_is_retryable(
    directory: Scripted, connector: ScimConnector, behaviour: Behaviour
) -> None:
    directory.script("GET", behaviour)
    result = lock(connector)
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds is not None
    assert directory.count("PATCH") == 0


@pytest.mark.parametrize("behaviour", [hang, drip_headers, drip_body])
def test_stalling_directory_is_left_at_the_timeout(
    directory: Scripted, hasty: ScimConnector, behaviour: Behaviour
) -> None:
    directory.script("GET", behaviour, behaviour)
    result = lock(hasty)
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds is not None
    with pytest.raises(Unavailable, match="directory"):
        hasty.observe(["alice"])
    assert directory.count("PATCH") == 0


def test_endless_answer_is_cut_off(
    directory: Scripted, connector: ScimConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "LARGEST_BODY_BYTES", 1000)
    directory.script("GET", replying(200, b" " * 2000))
    result = lock(connector)
    assert result.state is EffectState.FAILED
    assert "not SCIM" in result.reason


def test_wrong_address_is_no_absent_account(directory: Scripted) -> None:
    connector = connect(directory.url + "/elsewhere")
    with pytest.raises(Unavailable, match="no /Users"):
        connector.observe(["alice"])
    assert lock(connector).state is EffectState.FAILED
    connector.close()


def test_refused_connection_is_retryable() -> None:
    with socket.socket() as reserved:  # bound and not listening, so every connection is refused
        reserved.bind(("127.0.0.1", 0))
        connector = connect(f"http://127.0.0.1:{reserved.getsockname()[1]}")
        result = lock(connector)
        with pytest.raises(Unavailable):
            connector.observe(["alice"])
        connector.close()
    assert result.state is EffectState.FAILED
    assert result.retry_after_seconds is not None


def test_unreadable_account_spoils_no_other(directory: Scripted, connector: ScimConnector) -> None:
    directory.add("bob")
    directory.script("GET", replying(500))
    states = connector.observe(["alice", "bob", "nobody"])
    assert [state.name for state in states] == ["alice", "bob", "nobody"]
    assert sorted(bool(state.reason) for state in states) == [False, False, True]
    assert not any(state.exists for state in states if state.reason)


def test_a_connector_works_on_after_it_was_closed(
    directory: Scripted, connector: ScimConnector
) -> None:
    connector.close()
    assert lock(connector).state is EffectState.DONE
    connector.close()
    connector.close()
    assert not alice(directory)
