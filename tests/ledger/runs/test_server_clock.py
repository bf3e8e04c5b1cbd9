"""Hosts of one ledger use its server's clock: no live host looks dead."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.ledger import open_ledger
from standfast.ledger.runs.server_clock import ServerClock
from standfast.usecases.setup.installation_opening import open_installation
from tests.ledger.ledger_files import Place
from tests.usecases.installations import furnish

_SOON = timedelta(seconds=10)  # on a busy machine


class OwnClock:
    """A host's own clock, which a test sets."""

    def __init__(self, **ahead: float) -> None:
        self.ahead = timedelta(**ahead)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def is_right(clock: ServerClock) -> bool:
    return abs(clock() - datetime.now(UTC)) < _SOON


@pytest.mark.parametrize("minutes", [-9, 9])
def test_clock_offset_kills_no_living_runner(postgres_place: Place, minutes: int) -> None:
    postgres_place.create()
    here, there = ServerClock(OwnClock()), ServerClock(OwnClock(minutes=minutes))
    with (
        open_ledger(postgres_place.url, postgres_place.keys, postgres_place.witness, here) as ours,
        open_ledger(
            postgres_place.url, postgres_place.keys, postgres_place.witness, there
        ) as other,
    ):
        ours.newest_event()
        other.newest_event()
        token = ours.runners.register(None, "serve", here())
        assert not other.runners.is_dead(token, there())
        token = other.runners.register(None, "serve", there())
        assert not ours.runners.is_dead(token, here())
    assert abs(there.ahead - timedelta(minutes=minutes)) < _SOON
    assert is_right(there)


def test_hour_of_offset_is_reported_once(
    postgres_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """An intruder with the database must not make a day pass."""
    postgres_place.create()
    own = OwnClock(hours=-1)
    clock = ServerClock(own)
    with (
        caplog.at_level(logging.WARNING, "standfast.ledger"),
        open_ledger(
            postgres_place.url, postgres_place.keys, postgres_place.witness, clock
        ) as ledger,
    ):
        ledger.newest_event()
        assert abs(clock() - own()) < _SOON
        own.ahead = timedelta(minutes=-61)
        ledger.newest_event()
        (said,) = caplog.messages
        assert said.startswith("this host's clock: 60 min behind the clock of the ledger's server")
        own.ahead = timedelta(minutes=-2)
        ledger.newest_event()
    assert is_right(clock)


def test_a_clock_that_is_set_meanwhile_changes_nothing(postgres_place: Place) -> None:
    postgres_place.create()
    own = OwnClock()
    clock = ServerClock(own)
    with open_ledger(
        postgres_place.url, postgres_place.keys, postgres_place.witness, clock
    ) as ledger:
        ledger.newest_event()
        own.ahead = timedelta(minutes=5)
        assert is_right(clock)
        assert clock.ahead < _SOON
        ledger.newest_event()
        assert is_right(clock)
        assert clock.ahead > timedelta(minutes=4)


def test_shared_ledger_uses_the_server_clock(
    tmp_path: Path, sqlite_place: Place, postgres_ledger_url: str
) -> None:
    sqlite_place.create()
    own = OwnClock(minutes=5)
    clock = ServerClock(own)
    with open_ledger(sqlite_place.url, sqlite_place.keys, sqlite_place.witness, clock) as ledger:
        ledger.newest_event()
        assert abs(clock() - own()) < _SOON
    (tmp_path / "place").mkdir()
    config_file = furnish(tmp_path / "place", ledger_url=postgres_ledger_url)
    with open_installation(config_file, env={"SCIM_TOKEN": ""}) as place:
        assert isinstance(place.clock, ServerClock)
        assert place.ledger.newest_event() == 1
