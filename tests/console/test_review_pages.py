"""Review of frozen logs on the console: roles, masking, records of views."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standfast.console import review_pages
from standfast.evidence.custody import Act, read_custody
from standfast.records import Mode
from standfast.usecases.evidence.frozen_folders import frozen
from standfast.usecases.evidence.log_review_limits import ReviewLimits
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.console.installations import Site, site_at
from tests.console.people import Browser, furnished
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK as KEEP_LOGS
from tests.usecases.installations import PASSPHRASES, enrol_newcomer, enrol_people

HOSTILE = "<script>alert(1)</script>"
PAYMENT = '"GET /pay?pan=4111111111111111 HTTP/1.1" 200 5'
LOG = [
    f"203.0.113.9 - alice@example.net [25/Nov/2026:02:13:44 +0000] {PAYMENT}",
    *(
        f'10.0.0.7 - bob [25/Nov/2026:02:{14 + n // 60}:{n % 60:02} +0000] "GET /customers/{n} '
        'HTTP/1.1" 200 5'
        for n in range(150)
    ),
    f'2026-11-25T03:00:00Z app: {HOSTILE}\x1b[2J\u202e" onfocus="x',
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    config_file = furnished(tmp_path)
    (tmp_path / "own" / "keep-logs.yaml").write_text(KEEP_LOGS)
    for log in (tmp_path / "logs").iterdir():
        log.unlink()
    (tmp_path / "logs" / "web.log").write_text("\n".join(LOG[:-1]) + "\n")
    (tmp_path / "logs" / f"{HOSTILE[:7]}.log").write_text(LOG[-1] + "\n")
    with site_at(config_file) as found:
        enrol_people(found.installation)
        yield found


@pytest.fixture
def incident(site: Site) -> str:
    opened = open_incident(site.installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
    advance(site.installation, opened.incident, "direct")
    return opened.incident


@pytest.fixture
def path(lee: Browser, incident: str) -> str:
    """The path of the page, which the browser shows."""
    path = f"/console/{incident}/review"
    lee.get(f"/console/{incident}")
    assert f'href="{path}"' in lee.page
    lee.get(path)
    return path


def views(site: Site, incident: str) -> list[tuple[str, str]]:
    """Return reader and text of the views in the chain of custody."""
    (folder,) = frozen(site.installation.config, incident)
    lines = read_custody(folder.folder)
    timeline = site.installation.ledger.timeline(incident)
    events = [event.actor for event in timeline if event.action == "evidence.reviewed"]
    found = [(line.who, line.detail) for line in lines if line.act is Act.VIEWED]
    assert events == [who for who, _ in found]
    return found


def post(browser: Browser, path: str, **fields: str) -> Any:
    return browser.post(path, {"word": browser.word, **fields})


def test_filters_are_shown_before_a_log_is_read(
    site: Site, lee: Browser, incident: str, path: str
) -> None:
    assert 'name="account"' in lee.page
    assert "Card numbers" in lee.text
    assert views(site, incident) == []
    nobody = Browser(site)
    for answer in (nobody.get(path), nobody.post(path, {}), nobody.post(f"{path}/in-clear", {})):
        assert 'name="passphrase"' in answer.text
    assert nobody.sign_in("kim", path=path).headers["location"] == path
    kim = nobody.post(path, {"word": lee.word})  # the token of another session
    assert "Your session has ended" in kim.text
    assert views(site, incident) == []


def test_page_is_masked_and_its_reader_recorded(
    site: Site, lee: Browser, incident: str, path: str
) -> None:
    assert post(lee, path).status_code == 200
    for hidden in ("alice", "bob", "4111111111111111"):
        assert not re.search(rf"\b{hidden}\b", lee.page)  # a pseudonym may contain "bob"
    assert re.search("account-[a-p]{12}", lee.page)
    assert "Records 1 to 100 of 152" in lee.text
    for chart in ("Activity", "Accounts by address"):
        assert chart in lee.text
    assert views(site, incident) == [("lee", "logs reviewed, masked")]


@pytest.mark.parametrize(
    ("filters", "selected"),
    [
        ({"account": "Alice@example.net"}, 1),
        ({"address": "10.0.0.0/24"}, 150),
        ({"since": "2026-11-25T02:14", "until": "2026-11-25T02:14:09"}, 10),
        ({"contains": "/customers/7"}, 11),
    ],
)
def test_filters_select_records(
    lee: Browser, path: str, filters: dict[str, str], selected: int
) -> None:
    assert post(lee, path, **filters).status_code == 200
    assert f"of {selected} selected" in lee.text
    ((name, value),) = [*filters.items()][:1]
    assert f'name="{name}" value="{value}"' in lee.page


def test_next_page_continues_and_is_recorded(
    site: Site, lee: Browser, incident: str, path: str
) -> None:
    post(lee, path, account="bob")
    first = set(re.findall(r"web\.log:(\d+)", lee.page))
    post(lee, path, account="bob", page="2")
    second = set(re.findall(r"web\.log:(\d+)", lee.page))
    assert "Records 101 to 150 of 150" in lee.text
    assert len(first | second) == 150
    assert len(views(site, incident)) == 2


def test_clear_values_need_reason_and_passphrase(
    site: Site, lee: Browser, incident: str, path: str
) -> None:
    there, right = f"{path}/in-clear", PASSPHRASES["lee"]
    for given in (
        {"passphrase": right},
        {"reason": " ", "passphrase": right},
        {"reason": "case 4711"},
        {"reason": "case 4711", "passphrase": PASSPHRASES["kim"]},
        {"reason": "case 4711", "passkey": "{}", "challenge": "x"},
    ):
        assert post(lee, there, **given).status_code == 409
        assert "alice" not in lee.page
    assert views(site, incident) == []
    assert post(lee, there, reason="case 4711", passphrase=right).status_code == 200
    assert "alice@example.net" in lee.text
    assert "The values on this page are not masked." in lee.text
    assert views(site, incident) == [("lee", "logs reviewed in clear: case 4711")]


def test_hostile_lines_are_only_text(lee: Browser, path: str) -> None:
    post(lee, path, since="2026-11-25T03:00", contains=f'{HOSTILE[:-1]}"')
    assert HOSTILE[:-1] not in lee.page
    given = {"since": "2026-11-25T03:00", "reason": HOSTILE, "passphrase": PASSPHRASES["lee"]}
    post(lee, f"{path}/in-clear", **given)
    assert "of 1 selected" in lee.text
    assert HOSTILE in html.unescape(lee.page)
    assert set(re.findall("<script[^>]*>", lee.page)) == {'<script src="/console/passkeys.js">'}
    assert not {"\x1b", "\u202e"} & set(lee.page)
    assert '" onfocus' not in lee.page


def test_person_without_role_reads_nothing(site: Site, incident: str, path: str) -> None:
    enrol_newcomer(site.installation)
    newcomer = Browser(site)
    assert newcomer.sign_in("newcomer", PASSPHRASES["lee"]).status_code == 303
    newcomer.get(path)
    assert 'name="account"' not in newcomer.page
    assert post(newcomer, path).status_code == 409
    assert "has no role" in newcomer.text
    assert views(site, incident) == []


@pytest.mark.parametrize(
    "limits", [ReviewLimits(size_bytes=10, seconds=30), ReviewLimits(size_bytes=10**9, seconds=0)]
)
def test_large_review_is_referred_to_the_command(
    monkeypatch: pytest.MonkeyPatch, lee: Browser, path: str, limits: ReviewLimits
) -> None:
    monkeypatch.setattr(review_pages, "LIMITS", limits)
    assert post(lee, path).status_code == 409
    assert "standfast evidence review" in lee.text
    assert "account-" not in lee.page


def test_full_queue_asks_to_wait(site: Site, lee: Browser, incident: str, path: str) -> None:
    site.app.review_queue.most_waiting = 0
    assert post(lee, path).status_code == 409
    assert "Another review is running" in lee.text
    assert views(site, incident) == []


@pytest.mark.parametrize(
    "fields", [{"page": "0"}, {"page": "x"}, {"address": "a"}, {"since": "soon"}]
)
def test_invalid_value_is_named(lee: Browser, path: str, fields: dict[str, str]) -> None:
    assert post(lee, path, **fields).status_code == 409
    assert 'role="alert"' in lee.page
