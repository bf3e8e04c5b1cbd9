"""A calendar programme subscribes to the deadlines by a secret address."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from icalendar import Calendar

from standfast.cli import main
from standfast.deadlines.incident_facts import FactKind
from standfast.ledger.incidents.incident_facts import Statement
from standfast.records import Mode
from standfast.usecases.deadlines.calendar_subscriptions import (
    make_address,
    subscriber_of,
    subscribers,
)
from standfast.usecases.deadlines.legal_clocks import state_fact
from standfast.usecases.incidents import lifecycle
from tests.console.installations import Site, furnish_with, site_at

LAWS = """
[deadlines]
jurisdictions = ["EU/EEA"]
parts = ["controller"]

[contracts.acme]
client = "Acme Bank"
section = "12.3"
within = 24
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_at(furnish_with(tmp_path, LAWS)) as found:
        yield found


def opened(site: Site, mode: Mode = Mode.LIVE, *, aware: datetime | None = None) -> str:
    """Open an incident in which clocks run."""
    case = lifecycle.open_incident(
        site.installation, "lock", {"accounts": "agents:lee", "reason": "secret"}, mode=mode,
        opened_by="dana",
    ).incident  # fmt: skip
    became_aware(site, case, aware or datetime.now(UTC))
    return case


def became_aware(site: Site, case: str, at: datetime) -> None:
    said = Statement(kind=FactKind.TIME, name="awareness", at=at, reference="Ada called")
    state_fact(site.installation, case, said)


def read(site: Site, path: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{site.url}{path}", headers=named, trust_env=False, timeout=30)


def dues(answer: httpx.Response) -> dict[str, datetime]:
    events = Calendar.from_ical(answer.text).walk("VEVENT")
    return {str(one["UID"]): one.decoded("DTSTART") for one in events}


def test_calendar_has_deadlines_of_live_incidents(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = datetime.now(UTC).replace(microsecond=0)
    case, _ = opened(site, aware=at), opened(site, Mode.EXERCISE)
    words = ["deadline", "feed", "lee", "--json", "--config", str(tmp_path / "standfast.toml")]
    assert main(words) == 0
    path = json.loads(capsys.readouterr().out)["path"]
    answer = read(site, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    assert dues(answer) == {
        f"eu-gdpr-33-authority@{case}.standfast": at + timedelta(hours=72),
        f"contract-acme@{case}.standfast": at + timedelta(hours=24),
    }
    for personal in ("agents:lee", "secret", "Ada", "dana", "lee"):
        assert personal not in answer.text


def test_moved_deadline_keeps_its_calendar_entry(site: Site) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    case, path = opened(site, aware=at), make_address(site.installation, "lee")
    before = dues(read(site, path))
    became_aware(site, case, at - timedelta(hours=1))
    moved = dues(read(site, path))
    assert moved == {uid: due - timedelta(hours=1) for uid, due in before.items()}
    told = Statement(kind=FactKind.NOTIFIED, name="contract-acme", at=at, reference="call 9")
    state_fact(site.installation, case, told)
    lifecycle.close(site.installation, case)  # nobody is enrolled, so nobody signs in
    assert dues(read(site, path)).keys() == {f"eu-gdpr-33-authority@{case}.standfast"}


def test_empty_calendar_is_valid(site: Site) -> None:
    path = make_address(site.installation, "lee")
    (zone,) = Calendar.from_ical(read(site, path).text).subcomponents
    assert (zone.name, str(zone["TZID"])) == ("VTIMEZONE", "UTC")
    opened(site)
    events = Calendar.from_ical(read(site, path).text).subcomponents
    assert {(one.name, "DTEND" in one) for one in events} == {("VEVENT", False)}


def test_unchanged_calendar_is_not_sent_again(site: Site) -> None:
    case, path = opened(site), make_address(site.installation, "lee")
    first = read(site, path)
    assert first.headers["cache-control"] == "private, no-cache"
    tag = first.headers["etag"]
    for held in (tag, f"W/{tag}", f'"other", {tag}'):
        again = read(site, path, if_none_match=held)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    became_aware(site, case, datetime.now(UTC) - timedelta(hours=1))
    changed = read(site, path, if_none_match=tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_revoked_address_opens_nothing_others_stay(site: Site, tmp_path: Path) -> None:
    opened(site)
    lee, kim = make_address(site.installation, "lee"), make_address(site.installation, "kim")
    anew = make_address(site.installation, "kim")
    assert [read(site, one).status_code for one in (lee, kim, anew)] == [200, 404, 200]
    words = ["deadline", "feed", "lee", "--revoke", "-c", str(tmp_path / "standfast.toml")]
    assert main(words) == 0
    assert [read(site, one).status_code for one in (lee, kim, anew)] == [404, 404, 200]
    assert subscribers(site.installation).keys() == {"kim"}
    assert site.installation.ledger.audit.verify().is_whole


def test_unknown_address_is_404(site: Site) -> None:
    opened(site)
    path = make_address(site.installation, "lee")
    token = path.removeprefix("/calendar/").removesuffix(".ics")
    assert len(token) == 43
    swapped = ("A" if token[0] != "A" else "B") + token[1:]
    others = (f"/calendar/{token}", f"/calendar/{swapped}.ics", "/calendar/.ics", "/calendar/",
              "/calendar", f"/calendar/{token}.ics.ics", f"/calendar/{token}%00.ics")  # fmt: skip
    nowhere = read(site, "/nowhere")
    for other in others:
        answer = read(site, other)
        assert (answer.status_code, answer.text) == (404, nowhere.text), other


def test_ledger_alone_reveals_no_calendar_address(
    site: Site,
) -> None:
    path = make_address(site.installation, "lee")
    token = path.removeprefix("/calendar/").removesuffix(".ics")
    told = [event for event in site.installation.ledger.timeline() if event.subject == "calendar"]
    assert [event.detail["subscriber"] for event in told] == ["lee"]
    assert token not in repr(told)
    assert subscriber_of(site.installation, token) == "lee"
    assert not subscriber_of(site.installation, str(told[0].detail["address"]))


def test_calendar_feed_is_read_only(site: Site) -> None:
    url = site.url + make_address(site.installation, "lee")
    for method in ("POST", "PUT", "DELETE", "PROPFIND"):
        answer = httpx.request(method, url, content=b"BEGIN:VCALENDAR", trust_env=False)
        assert answer.status_code == 405, method
    assert httpx.head(url, trust_env=False).status_code == 200


def test_frequent_reader_gets_retry_after(site: Site) -> None:
    lee, kim = make_address(site.installation, "lee"), make_address(site.installation, "kim")
    answers = [read(site, lee) for _ in range(20)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert read(site, kim).status_code == 200


def test_address_guesses_do_not_block_subscribers(site: Site) -> None:
    lee = make_address(site.installation, "lee")
    assert read(site, lee).status_code == 200
    guesses = (read(site, f"/calendar/{number:043}.ics").status_code for number in range(1000))
    assert next(status for status in guesses if status != 404) == 429
    assert read(site, lee).status_code == 200
