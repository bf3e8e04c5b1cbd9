"""Contract of every connector: a directory that hangs, drops or lies.

The directory is the real one; a relay before it misbehaves. The outcome `unknown` must never become
`done` without a look-up, nor `failed` if the change took effect. A fault of one account must not
affect another.
"""

import re
import uuid
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from standfast.adapters.accounts import Connector
from standfast.errors import Unavailable
from standfast.records import EffectState, Result
from tests.adapters.accounts.contract import House
from tests.servers import growing, wait_until
from tests.servers.relay import Relay, running_relay

# The beginning of an answer to a change, up to its code for success (RFC 4511 4.6 and 4.1.9); Samba
# writes long lengths.
_CHANGED = re.compile(rb"(\x67(?:\x84\0\0\0)?.\x0a\x01)\0", re.DOTALL)


class RelayedHouse(House):
    """A house with a connector that can be put behind a relay."""

    relayed: Path | int  # the server that a relay forwards to
    change: bytes  # only a request that locks contains it
    undo_change = b""  # only a request that unlocks contains it; empty: the same
    patience_seconds = 0.5  # without a fault, the server answers within this time

    @abstractmethod
    def through(self, port: int, seconds: float) -> Connector:
        """Connect through a loopback port, one account and one call at a time."""

    @abstractmethod
    def lie(self, relay: Relay) -> None:
        """Answer the next lock as done without applying it."""

    def new_name(self) -> str:
        """Return a new name."""
        return f"agent-{uuid.uuid4().hex[:8]}"


def lock(house: RelayedHouse, connector: Connector, name: str) -> Result:
    (result,) = connector.lock([house.order("lock", name)])
    return result


def wait_for(connector: Connector, name: str) -> None:
    """Read until the directory answers.

    The load of some drivers takes longer than a short time-out.
    """

    def answers() -> bool:
        try:
            return bool(connector.observe([name])[0].is_enabled)
        except Unavailable:
            return False

    wait_until(answers, "the directory answers")


def lock_until_sent(house: RelayedHouse, relay: Relay, name: str) -> Result:
    """Lock again, with more time, until the change was sent."""
    before = len(relay.sent)
    for seconds in growing(house.patience_seconds):
        connector = house.through(relay.port, seconds)
        result = lock(house, connector, name)
        connector.close()
        if house.change in relay.sent[before:]:
            break
        assert result.state is EffectState.FAILED
    return result


class FaultContract:
    """Fault tests: subclass with a fixture `house`, a `RelayedHouse`."""

    def test_hanging_directory_leaves_only_changes_unknown(
        self, house: RelayedHouse, alice: str
    ) -> None:
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, house.patience_seconds)
            wait_for(connector, alice)
            relay.hold()
            result = lock(house, connector, alice)
            assert result.state is EffectState.FAILED
            assert result.retry_after_seconds is not None
            with pytest.raises(Unavailable):
                connector.observe([alice])
            relay.release()
            assert house.is_enabled(alice)
            connector.close()
            relay.hold_after(house.change)
            assert lock_until_sent(house, relay, alice).state is EffectState.UNKNOWN
            relay.release()
            relay.cut()
            connector = house.through(relay.port, 10.0)
            assert lock(house, connector, alice).state is EffectState.DONE
            assert not house.is_enabled(alice)
            connector.close()

    def test_dropped_connection_is_unknown_unless_observed(
        self, house: RelayedHouse, alice: str
    ) -> None:
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0)
            wait_for(connector, alice)
            relay.cut_after(house.change)
            result = lock(house, connector, alice)
            assert result.state in (EffectState.UNKNOWN, EffectState.DONE)
            assert result.state is EffectState.UNKNOWN or not house.is_enabled(alice)
            assert lock(house, connector, alice).state is EffectState.DONE
            connector.close()

    def test_lost_undo_answer_is_unknown_and_repeatable(
        self, house: RelayedHouse, alice: str
    ) -> None:
        before = house.observe(alice)
        order = replace(house.order("undo", alice), prior=before.prior)
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0)
            wait_for(connector, alice)
            assert house.lock(alice).state is EffectState.DONE
            gives_back = house.undo_change or house.change
            relay.cut_after(gives_back)
            (result,) = connector.undo([order])
            assert gives_back in relay.sent
            assert result.state in (EffectState.UNKNOWN, EffectState.DONE)
            assert result.state is EffectState.UNKNOWN or house.is_enabled(alice)
            (again,) = connector.undo([order])
            assert again.state is EffectState.DONE
            assert house.is_enabled(alice)
            connector.close()

    def test_one_that_drops_spoils_no_other(self, house: RelayedHouse) -> None:
        names = [house.new_name() for _ in range(3)]
        for name in names:
            house.add(name)
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0)
            wait_for(connector, names[0])
            relay.cut_after(house.change)
            orders = [house.order("lock", name) for name in names]
            first, *rest = connector.lock(orders)
            assert first.state in (EffectState.UNKNOWN, EffectState.DONE)
            for result in rest:
                # Accounts in the same call were not begun and may be retried. The next account on
                # the same connection may have been sent before the break was noticed.
                if result is rest[0] and result.state is EffectState.UNKNOWN:
                    continue
                is_left = result.state is EffectState.FAILED
                assert is_left or result.state is EffectState.DONE
                assert house.is_enabled(result.target) is is_left
                assert (result.retry_after_seconds is not None) is is_left
            again = connector.lock(orders)
            assert [result.state for result in again] == [EffectState.DONE] * 3
            assert not any(house.is_enabled(name) for name in names)
            connector.close()

    def test_dead_idle_connection_is_reopened(self, house: RelayedHouse, alice: str) -> None:
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0)
            wait_for(connector, alice)
            relay.cut()
            # A provider without idempotency keys may get one more request.
            results = [lock(house, connector, alice) for _ in range(2)]
            assert results[0].state in (EffectState.DONE, EffectState.FAILED)
            assert results[1].state is EffectState.DONE
            connector.close()

    @pytest.mark.sampled
    @pytest.mark.parametrize(
        "garbage",
        [b"\xff" * 64, b"HTTP/1.1 200 OK\r\n\r\n<p>", b"\0"],
        ids=["ones", "a page", "a zero"],
    )
    def test_garbage_is_never_taken_for_success(
        self, house: RelayedHouse, alice: str, garbage: bytes
    ) -> None:
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, house.patience_seconds)
            wait_for(connector, alice)
            relay.rewrite = lambda _: garbage
            assert lock(house, connector, alice).state is EffectState.FAILED
            assert house.is_enabled(alice)
            relay.rewrite = bytes
            connector.close()
            relay.garble_after(house.change, garbage)
            result = lock_until_sent(house, relay, alice)
            assert result.state is EffectState.UNKNOWN
            assert alice not in result.reason

    def test_a_lie_is_not_believed(self, house: RelayedHouse, alice: str) -> None:
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0)
            wait_for(connector, alice)
            house.lie(relay)
            result = lock(house, connector, alice)
            assert result.state is EffectState.FAILED
            assert result.reason
            assert house.is_enabled(alice)
            connector.close()

    def test_absent_directory_is_reported_without_names(
        self, house: RelayedHouse, alice: str
    ) -> None:
        gone = house.through(1, 2.0)
        with pytest.raises(Unavailable) as caught:
            gone.observe([alice])
        assert alice not in str(caught.value)
        result = lock(house, gone, alice)
        assert (result.state, result.retry_after_seconds is None) == (EffectState.FAILED, False)
        gone.close()


class HttpHouse(RelayedHouse):
    """A house with a directory that speaks HTTP."""

    success = b""  # the body of an answer that confirms a change
    success_status = 200
    busy = b""  # the body of an answer that defers a change

    def lie(self, relay: Relay) -> None:
        relay.answer_for(self.change, reply(self.success_status, self.success))


class BusyContract:
    """Contract for HTTP directories that ask the connector to wait."""

    @pytest.mark.parametrize("status", [429, 503])
    def test_busy_directory_is_retried_when_it_asks(
        self, house: HttpHouse, alice: str, status: int
    ) -> None:
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0)
            wait_for(connector, alice)
            relay.answer_for(house.change, reply(status, house.busy, retry_after="7"))
            result = lock(house, connector, alice)
            assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, 7.0)
            assert house.is_enabled(alice)
            assert lock(house, connector, alice).state is EffectState.DONE
            connector.close()


class BusyLdapContract:
    """Contract for LDAP directories that answer busy or unavailable."""

    @pytest.mark.parametrize("code", [51, 52], ids=["busy", "unavailable"])
    def test_busy_directory_is_never_done(self, house: RelayedHouse, alice: str, code: int) -> None:
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0)
            wait_for(connector, alice)
            house.lie(relay)  # the directory changes nothing
            relay.rewrite = lambda answer: _CHANGED.sub(lambda one: one[1] + bytes([code]), answer)
            result = lock(house, connector, alice)
            assert (result.state, result.retry_after_seconds is None) == (EffectState.FAILED, False)
            assert house.is_enabled(alice)
            relay.rewrite = relay.rewrite_request = bytes
            assert lock(house, connector, alice).state is EffectState.DONE
            connector.close()


def port_of(url: str) -> int:
    """Return the port of a loopback address."""
    port = urlsplit(url).port
    assert port is not None
    return port


def at_port(url: str, port: int) -> str:
    """Return the address with the port of a relay."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()


def hurried(seconds: float) -> dict[str, Any]:
    """Return settings with one call at a time and short time-outs."""
    return {"workers": 1, "timeout_seconds": seconds}


def reply(status: int, body: bytes = b"", *, retry_after: str = "") -> bytes:
    """Write an HTTP answer after which the connection closes."""
    lines = [f"HTTP/1.1 {status} As told", "Connection: close"]
    lines += [f"Retry-After: {retry_after}"] if retry_after else []
    lines += [] if status == 204 else [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
