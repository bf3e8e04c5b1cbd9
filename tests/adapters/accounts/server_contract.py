"""Contract of connectors with persistent connections, on real servers.

- `SessionContract`: sessions that end with a lock, for directories that can end them.
- `FullContract`: a server that temporarily refuses all new connections, which is how these servers
  throttle.
- `TlsContract`: the identity of the server and the encryption; it also needs a fixture `secured`.
"""

import uuid
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.accounts import Connector
from standfast.errors import Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.fault_contract import RelayedHouse, lock
from tests.servers.relay import Relay, running_relay


class ServerHouse(RelayedHouse):
    """A house on a server that has sessions."""

    @abstractmethod
    def open_session(self, name: str) -> Any:
        """Sign in by the holder's password; return the open session."""

    @abstractmethod
    def admits(self, session: Any) -> bool:
        """Return whether a session still works."""


class SessionContract:
    """Old sessions end, and are refused as old passwords are."""

    def test_old_session_and_password_stay_refused(self, house: ServerHouse, alice: str) -> None:
        session = house.open_session(alice)
        assert house.admits(session)
        before = house.observe(alice)
        assert before.live_sessions == 1
        result = house.lock(alice)
        assert (result.state, result.facts["changed"]) == (EffectState.DONE, True)
        assert not house.admits(session)
        assert not house.sign_in(alice)
        assert house.prove(alice).proof is Proof.SESSIONS_GONE
        assert house.undo(alice, before).state is EffectState.DONE
        assert house.admits(house.open_session(alice))
        assert not house.admits(session)

    def test_revocation_ends_sessions_and_admits_holder_again(
        self, house: ServerHouse, alice: str
    ) -> None:
        session = house.open_session(alice)
        (result,) = house.connector.revoke([house.order("revoke", alice)])
        assert result.state is EffectState.DONE
        assert not house.admits(session)
        assert house.sign_in(alice)

    def test_surviving_session_is_no_proof(self, house: ServerHouse, alice: str) -> None:
        house.open_session(alice)
        house.set_enabled(alice, False)
        result = house.prove(alice)
        assert (result.state, result.proof) == (EffectState.FAILED, Proof.NONE)
        assert "open" in result.reason
        assert house.lock(alice).state is EffectState.DONE
        assert house.prove(alice).state is EffectState.DONE

    def test_bad_name_spoils_no_other(self, house: ServerHouse) -> None:
        names = [f"agent-{uuid.uuid4().hex[:8]}" for _ in range(5)]
        for name in names:
            house.add(name)
        asked = [*names[:2], "nobody\0", "no\udcffbody", *names[2:]]
        results = house.connector.lock([house.order("lock", name) for name in asked])
        assert [result.state.value for result in results] == [
            *["done"] * 2, "refused", "refused", *["done"] * 3
        ]  # fmt: skip
        assert not any(house.is_enabled(name) for name in names)


class LimitedHouse(ServerHouse):
    """A house on a server with a limited number of connections."""

    @abstractmethod
    def full(self) -> AbstractContextManager[None]:
        """Refuse new connections of the connector inside the block."""


class FullContract:
    """A refusal for lack of room changes nothing and is retried."""

    def test_full_server_is_retried(self, house: LimitedHouse, alice: str) -> None:
        with house.full():
            result = lock(house, house.connector, alice)
            with pytest.raises(Unavailable, match="full") as caught:
                house.connector.observe([alice])
        assert caught.value.retry_after_seconds is not None
        assert (result.state, result.retry_after_seconds is None) == (EffectState.FAILED, False)
        assert "full" in result.reason
        assert house.is_enabled(alice)
        assert house.lock(alice).state is EffectState.DONE
        assert not house.is_enabled(alice)


@dataclass(frozen=True, kw_only=True)
class Secured:
    """A server with TLS and one without, each behind a relay."""

    connect: Callable[..., Connector]  # host, port; tls=…, ca_file=…
    target: Path | int
    plain: Path | int
    ca_file: Path
    verifies: str  # the value of `tls` that verifies certificate and name
    requires: tuple[str, ...]  # values of `tls` that refuse to continue without TLS
    secrets: tuple[bytes, ...]  # secrets that must not be sent in clear text
    # Removes the offer of TLS from an answer.
    strip: Callable[[bytes], bytes] = field(default=bytes)


class TlsContract:
    """A server with a wrong certificate, or without TLS, receives nothing."""

    def refused(self, secured: Secured, relay: Relay, **how: object) -> None:
        connector = secured.connect(port=relay.port, **how)
        with pytest.raises(Unavailable):
            connector.observe(["nobody"])
        connector.close()
        assert not any(secret in relay.sent for secret in secured.secrets)

    def test_private_authority_is_accepted(self, secured: Secured) -> None:
        with running_relay(secured.target) as relay:
            for how in (secured.verifies, *secured.requires):
                connector = secured.connect(
                    host="localhost", port=relay.port, tls=how, ca_file=secured.ca_file
                )
                assert not connector.observe(["nobody"])[0].exists
                connector.close()
            assert not any(secret in relay.sent for secret in secured.secrets)

    def test_another_name_than_the_certificates_is_refused(self, secured: Secured) -> None:
        with running_relay(secured.target, host="127.0.0.2") as relay:
            how = {"host": "127.0.0.2", "ca_file": secured.ca_file}
            self.refused(secured, relay, tls=secured.verifies, **how)

    def test_an_authority_that_nobody_named_is_refused(self, secured: Secured) -> None:
        with running_relay(secured.target) as relay:
            self.refused(secured, relay, host="localhost", tls=secured.verifies, ca_file=None)

    def test_server_without_tls_receives_nothing(self, secured: Secured) -> None:
        with running_relay(secured.plain) as relay:
            relay.rewrite = secured.strip
            for how in (secured.verifies, *secured.requires):
                self.refused(secured, relay, host="localhost", tls=how, ca_file=secured.ca_file)

    def test_tls_is_verified_by_default(self, secured: Secured) -> None:
        for target, strip in ((secured.target, bytes), (secured.plain, secured.strip)):
            with running_relay(target, host="127.0.0.2") as relay:
                relay.rewrite = strip
                how = {"host": "127.0.0.2", "ca_file": secured.ca_file}
                self.refused(secured, relay, tls=None, **how)
