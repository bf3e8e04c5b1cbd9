"""Contract of every connector that rotates passwords.

The tests open the new password as its recipient does: from the file that the receipt names, with a
key that the connector never had.
"""

import json
import stat
import uuid
from abc import abstractmethod
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.new_passwords import NewPasswords, new_secrets
from standfast.config.sections.password_rotation import RotationConfig
from standfast.records import EffectState, Result
from tests.adapters.accounts.contract import House
from tests.adapters.accounts.fault_contract import RelayedHouse
from tests.servers import wait_until
from tests.servers.relay import running_relay


class Recipient:
    """A person that may open new passwords, and the folder for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._identity = pyrage.x25519.Identity.generate()

    def new_secrets(self) -> NewPasswords:
        settings = RotationConfig(recipients=(str(self._identity.to_public()),), folder=self.folder)
        sealing = new_secrets(settings, lambda: datetime.now(UTC))
        assert sealing is not None
        return sealing

    def open(self, place: Path) -> dict[str, Any]:
        return dict(json.loads(pyrage.decrypt(place.read_bytes(), [self._identity])))

    def passwords(self, name: str) -> list[str]:
        """Return every password that was sealed for an account so far."""
        opened = [self.open(place) for place in self.folder.glob("*.age")]
        return [str(one["password"]) for one in opened if one["account"] == name]


class RotationHouse(House):
    """A house with a connector that rotates; `recipient` opens its files."""

    recipient: Recipient
    first_password = "right"

    @abstractmethod
    def sign_in_with(self, name: str, password: str) -> bool:
        """Try any password without the connector."""

    def heard(self) -> str:
        """Return the server's log of requests, if it has one."""
        return ""

    def rotate(self, name: str, token: str = "") -> Result:
        order = self.order("rotate", name)
        (result,) = self.connector.rotate([replace(order, token=token or order.token)])
        return result


class RelayedRotationHouse(RotationHouse, RelayedHouse):
    """A house that can also be reached through a relay."""

    password_change: bytes  # only a request that sets a password contains it

    @abstractmethod
    def through(
        self, port: int, seconds: float, new_secrets: NewPasswords | None = None
    ) -> Connector: ...


@pytest.fixture
def recipient(tmp_path: Path) -> Recipient:
    return Recipient(tmp_path / "new")


class RotationContract:
    """Rotation tests: subclass with a fixture `house`, a `RotationHouse`."""

    def test_only_the_sealed_password_is_accepted(self, house: RotationHouse, alice: str) -> None:
        assert house.sign_in_with(alice, house.first_password)
        result = house.rotate(alice)
        assert result.state is EffectState.DONE
        assert not house.sign_in_with(alice, house.first_password)
        place = Path(str(result.facts["sealed_in"]))
        opened = house.recipient.open(place)
        assert (opened["account"], opened["directory"]) == (alice, house.connector.name)
        assert house.sign_in_with(alice, str(opened["password"]))
        assert str(place) in result.reason
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700

    def test_new_password_appears_nowhere(self, house: RotationHouse, alice: str) -> None:
        result = house.rotate(alice)
        (password,) = house.recipient.passwords(alice)
        assert password not in repr(result)
        assert password not in house.heard()
        for place in house.recipient.folder.iterdir():
            assert alice not in place.name
            assert password.encode() not in place.read_bytes()

    def test_locked_account_stays_locked_after_rotation(
        self, house: RotationHouse, alice: str
    ) -> None:
        before = house.observe(alice)
        house.lock(alice)
        assert house.rotate(alice).state is EffectState.DONE
        (password,) = house.recipient.passwords(alice)
        assert not house.is_enabled(alice)
        assert not house.sign_in_with(alice, password)
        assert not house.sign_in_with(alice, house.first_password)
        assert house.prove(alice).state is EffectState.DONE
        assert house.undo(alice, before).state is EffectState.DONE
        assert not house.sign_in_with(alice, house.first_password)
        assert house.sign_in_with(alice, password)

    def test_each_attempt_seals_another_password(self, house: RotationHouse, alice: str) -> None:
        token = uuid.uuid4().hex
        first, second = house.rotate(alice, token), house.rotate(alice, token)
        assert first.facts["sealed_in"] != second.facts["sealed_in"]
        assert len(house.recipient.passwords(alice)) == 2
        last = house.recipient.open(Path(str(second.facts["sealed_in"])))
        assert house.sign_in_with(alice, str(last["password"]))

    def test_nothing_is_set_that_could_not_be_sealed(
        self, house: RotationHouse, alice: str
    ) -> None:
        house.recipient.folder.parent.mkdir(exist_ok=True)
        house.recipient.folder.write_text("in the way of the folder")
        result = house.rotate(alice)
        assert result.state is EffectState.FAILED
        assert "none was set" in result.reason
        assert house.sign_in_with(alice, house.first_password)

    def test_unknown_account_gets_no_password(self, house: RotationHouse, alice: str) -> None:
        before = house.stamp(alice)
        asked = [house.order("rotate", "nobody"), house.order("rotate", alice)]
        results = house.connector.rotate(asked)
        assert [one.state for one in results] == [EffectState.REFUSED, EffectState.DONE]
        assert house.recipient.passwords("nobody") == []
        assert house.stamp(alice) != before


class LostAnswerContract:
    """Contract for lost answers: the valid password can always be opened."""

    def test_password_in_force_is_always_sealed(
        self, house: RelayedRotationHouse, alice: str
    ) -> None:
        order = house.order("rotate", alice)
        with running_relay(house.relayed) as relay:
            connector = house.through(relay.port, 5.0, house.recipient.new_secrets())
            connector.observe([alice])
            relay.cut_after(house.password_change)
            (result,) = connector.rotate([order])
            assert result.state is EffectState.UNKNOWN
            connector.close()
        (password,) = house.recipient.passwords(alice)
        known = (password, house.first_password)  # the server may apply the change a moment later
        wait_until(lambda: any(house.sign_in_with(alice, one) for one in known), "one is let in")
        assert house.rotate(alice, order.token).state is EffectState.DONE
        tried = [house.sign_in_with(alice, one) for one in house.recipient.passwords(alice)]
        assert sorted(tried) == [False, True]
        assert not house.sign_in_with(alice, house.first_password)
