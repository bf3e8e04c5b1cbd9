"""The day of a moment in the time zone of the organisation."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.factory.live_adapters import Live
from standfast.adapters.senders import Message
from standfast.config import load
from standfast.records import Mode
from standfast.secrets import SystemResolver
from tests.adapters.factory.test_built_once import no_notice

SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000"
time_zone = "{zone}"

[audiences.customers]
kind = "csv"
path = "customers.csv"
why = "You are our customer."
columns = {{ address = "address", born_on = "born_on" }}

[senders.post]
kind = "letters"
folder = "letters"
return_address = ["1 Example Street"]
"""


def live_at(folder: Path, zone: str, now: str) -> Live:
    config_file = folder / "standfast.toml"
    config_file.write_text(SETTINGS.format(zone=zone))
    custody = Custody(incident="inc-1", collector="test", reason="test", folder=folder)
    return Live(
        load(config_file),
        custody,
        no_notice,
        mode=Mode.LIVE,
        resolver=SystemResolver(env={}, base_dir=folder),
        clock=lambda: datetime.fromisoformat(now).replace(tzinfo=UTC),
    )


DAYS = [
    ("America/Los_Angeles", "2027-01-01T07:59", "2026-12-31", "31 December 2026"),
    ("Pacific/Auckland", "2026-12-31T11:00", "2027-01-01", "1 January 2027"),
]


@pytest.mark.parametrize(("zone", "now", "day", "written"), DAYS)
def test_letter_has_its_print_date(
    tmp_path: Path, zone: str, now: str, day: str, written: str
) -> None:
    message = Message(
        token="1" * 32,
        address="Ada\n1 High Street\nLeeds",
        subject="About your data",
        text="Hello\n",
        html="<html><body><p>Hello</p></body></html>",
        language="en",
    )
    live_at(tmp_path, zone, now).sender("post").send([message])
    (page,) = (tmp_path / "letters").glob("*.html")
    assert page.name.startswith(f"{day}-")
    assert f">{written}<" in page.read_text()


@pytest.mark.parametrize(("zone", "now", "day", "written"), DAYS)
def test_nobody_is_adult_before_the_birthday(
    tmp_path: Path, zone: str, now: str, day: str, written: str
) -> None:
    (tmp_path / "customers.csv").write_text("address,born_on\nada@example.com,2009-01-01\n")
    held = live_at(tmp_path, zone, now).audience("customers").held
    assert len(held) == (day < "2027")
