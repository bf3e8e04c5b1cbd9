"""Fictional contact centre: real files, equal for equal seeds."""

import sqlite3
import wave
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.call_centre import CallCentre, Scale, build, next_day
from demo.call_recordings import RATE, record, voice
from demo.fictional_people import agents, customers
from standfast.notices.mail_addresses import parse_address

NOW = datetime(2026, 11, 25, 22, 0, tzinfo=UTC)
SCALE = Scale(calls=8, call_seconds=46, customers=30, agents=6, taken_over=3, innocent=1)


def _build(folder: Path) -> CallCentre:
    return build(folder, SCALE, NOW, lambda *_: None)


def test_the_same_seed_makes_the_same_centre(tmp_path: Path) -> None:
    first, second = _build(tmp_path / "first"), _build(tmp_path / "second")
    assert (first.agents, first.customers) == (second.agents, second.customers)
    names = [[path.name for path in centre.calls()] for centre in (first, second)]
    assert names[0] == names[1]
    assert [path.read_bytes() for path in first.calls()] == [
        path.read_bytes() for path in second.calls()
    ]


def test_every_recording_is_a_telephone_call_that_plays(tmp_path: Path) -> None:
    calls = _build(tmp_path / "centre").calls()
    assert len(calls) == SCALE.calls
    for path in calls:
        with wave.open(str(path)) as sound:
            shape = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
            assert shape == (1, 2, RATE)
            assert sound.getnframes() >= 45 * RATE


def test_equal_words_share_no_block(tmp_path: Path) -> None:
    speakers = voice(1), voice(2)
    for number in (1, 2):
        size = record(tmp_path / f"{number}.wav", 3, *speakers, seed=number)
        assert size == 44 + 3 * RATE * 2
    first, second = ((tmp_path / f"{number}.wav").read_bytes()[44:] for number in (1, 2))
    blocks = {first[place : place + 64] for place in range(0, len(first), 64)}
    assert blocks.isdisjoint(second[place : place + 64] for place in range(0, len(second), 64))


def test_every_customer_has_an_own_mailbox() -> None:
    made = customers(500, 7)
    addresses = [parse_address(one.address) for one in made]
    assert len({address.key for address in addresses}) == 500
    assert all("example" in address.domain for address in addresses)
    assert {one.language for one in made} == {"en", "es", "fr", "de", "pl", "el"}
    assert any(not one.name.isascii() for one in made)


@pytest.mark.parametrize("seed", range(5))
def test_each_account_belongs_to_one_agent(seed: int) -> None:
    made = agents(40, seed)
    assert len({one.account for one in made}) == 40
    assert all(one.account.isascii() and parse_address(one.address) for one in made)


def test_day_of_work_changes_files_and_customers(tmp_path: Path) -> None:
    centre = _build(tmp_path / "centre")
    before = {path.name for path in centre.calls()}
    with closing(sqlite3.connect(centre.database)) as crm:
        contacts = crm.execute("SELECT count(*) FROM contacts").fetchone()[0]
    day = next_day(centre, NOW + timedelta(hours=4), lambda *_: None)
    after = {path.name for path in centre.calls()}
    assert len(after - before) == day.recorded + 1
    assert day.renamed in after
    assert len(before - after) == day.deleted + 1
    with closing(sqlite3.connect(centre.database)) as crm:
        found = crm.execute("SELECT count(*), max(at) FROM contacts").fetchone()
        changed = crm.execute(
            "SELECT count(*) FROM customers WHERE changed_at > ?",
            ((NOW + timedelta(hours=3)).isoformat(),),
        ).fetchone()[0]
    assert found[0] == contacts + day.contacts
    assert datetime.fromisoformat(found[1]) == NOW + timedelta(hours=4, minutes=-1)
    assert changed == day.customers_changed


def test_the_break_in_is_in_the_logs(tmp_path: Path) -> None:
    centre = _build(tmp_path / "centre")
    quiet = (centre.logs / "sign-ins.log").read_text()
    next_day(centre, NOW + timedelta(hours=4), lambda *_: None)
    added = (centre.logs / "sign-ins.log").read_text().removeprefix(quiet)
    assert [account in added for account in centre.taken_over] == [True] * SCALE.taken_over
    others = {agent.account for agent in centre.agents} - set(centre.taken_over)
    assert not any(f"account={account} " in added for account in others)
