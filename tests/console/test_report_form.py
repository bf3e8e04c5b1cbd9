"""The report form for staff: without an account, inside only, no effect."""

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from standfast.console.http.client_address import client_of
from standfast.console.report_form import GOOD_FOR_SECONDS
from standfast.console.report_form_texts import WORDS, pick
from standfast.errors import Unavailable
from standfast.records import Mode
from standfast.usecases.triggers.message_intake import triggers_of
from standfast.usecases.triggers.trigger_pages import due
from standfast.usecases.triggers.trigger_pages import send as send_page
from tests.console.installations import Site, furnish_with, site_at
from tests.usecases.installations import enrol_people

PLAYBOOK = """\
playbook: seen
version: 1
title: Somebody saw something
use_when: Staff report something.
inputs:
  what: {type: text, required: true}
  who: {type: text}
  contact: {type: text}
steps:
  look:
    title: Look at it
    manual: Read what was seen.
"""
FORM = """
[playbooks]
folder = "own"

[triggers.staff]
kind = "report"
scenario = "seen"
inputs = { what = "{/what}", who = "{/account}", contact = "{/contact}" }
"""


def furnished(folder: Path, form: str = FORM) -> Path:
    (folder / "own").mkdir()
    (folder / "own" / "seen.yaml").write_text(PLAYBOOK)
    return furnish_with(folder, form)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_at(furnished(tmp_path)) as found:
        enrol_people(found.installation)
        yield found


def show(site: Site, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{site.url}/report", headers=named, trust_env=False)


def token_of(page: httpx.Response) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found
    return found[1]


def send(site: Site, fields: dict[str, str], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{site.url}/report", data=fields, headers=named, trust_env=False)


def filled(site: Site, **more: str) -> dict[str, str]:
    return {"token": token_of(show(site)), "what": "A caller asked for my code", **more}


def test_contact_line_fits_the_page(site: Site) -> None:
    line = f"<strong>{html.escape(site.installation.config.organisation.contact_line)}</strong>"
    for page in (show(site), send(site, filled(site))):
        assert line in page.text
        assert (
            "overflow-wrap: anywhere" in page.text
        )  # an address may be longer than a phone is wide


def test_report_opens_plan_and_shows_reference(site: Site) -> None:
    answer = send(site, filled(site, account="agent01, agent02", contact="Ada, desk 7"))
    assert answer.status_code == 200
    (row,) = site.installation.ledger.incidents.all()
    assert row.id in answer.text
    assert WORDS["en"].thanks in html.unescape(answer.text)
    assert (row.mode, row.opened_by) == (Mode.PLAN, "trigger:staff")
    assert row.inputs == {
        "what": "A caller asked for my code",
        "who": "agent01, agent02",
        "contact": "Ada, desk 7",
    }


def test_sending_the_form_twice_is_one_report(site: Site) -> None:
    fields = filled(site)
    first, second = send(site, fields), send(site, fields)
    (row,) = site.installation.ledger.incidents.all()
    assert row.id in first.text
    assert row.id in second.text


def test_form_changed_after_going_back_is_another_report(site: Site) -> None:
    fields = filled(site, account="agent01")
    first, second = send(site, fields), send(site, {**fields, "account": "agent10"})
    one, other = site.installation.ledger.incidents.all()
    assert (one.inputs["who"], other.inputs["who"]) == ("agent01", "agent10")
    assert one.id in first.text
    assert other.id in second.text


def test_identical_reports_are_one_report(site: Site) -> None:
    send(site, filled(site))
    send(site, filled(site, contact="Ada"))
    assert len(site.incidents) == 2
    send(site, filled(site, contact="Ada"))
    assert len(site.incidents) == 2


def test_empty_fields_are_omitted(site: Site) -> None:
    send(site, filled(site, account="  ", contact=""))
    (row,) = site.installation.ledger.incidents.all()
    assert (row.inputs["who"], row.inputs["contact"]) == (None, None)


def test_invalid_report_keeps_its_text(site: Site) -> None:
    for change in (
        {"token": ""},
        {"token": "a.1.b"},
        {"token": "x" * 5000},
        {"token": "\u00e9.1.\u00e9"},
        {"what": " \n "},
    ):
        answer = send(site, {**filled(site, account="agent01"), **change})
        assert answer.status_code == 400, change
        assert 'value="agent01"' in answer.text, change
        assert 'role="alert"' in answer.text, change
    assert site.incidents == []


def test_a_form_is_good_for_two_hours(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = filled(site)
    clock = site.installation.clock
    later = replace(
        site.installation, clock=lambda: clock() + timedelta(seconds=GOOD_FOR_SECONDS + 5)
    )
    with site_at_again(site, later) as url:
        answer = httpx.post(f"{url}/report", data=fields, trust_env=False)
        assert answer.status_code == 400
    assert site.incidents == []


def site_at_again(site: Site, installation: Any) -> Any:
    """The same installation with another clock."""
    from contextlib import contextmanager

    from standfast.console.application import App
    from standfast.console.http_server import HttpServer
    from tests.servers import wait_until

    @contextmanager
    def serving() -> Iterator[str]:
        app = App(installation=installation, triggers=site.app.triggers)
        server = HttpServer(app=app, host="127.0.0.1", port=0)
        server.begin()
        try:
            wait_until(server.is_listening.is_set, "HTTP is up")
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.end()

    return serving()


def test_a_form_from_another_site_is_refused(site: Site) -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://[127.0.0.1"},
    ):
        assert send(site, filled(site), **headers).status_code == 403, headers
    assert site.incidents == []


def test_form_of_same_site_is_accepted(site: Site) -> None:
    answer = send(site, filled(site), origin=site.url, sec_fetch_site="same-origin")
    assert answer.status_code == 200
    assert len(site.incidents) == 1


def test_form_is_404_outside_its_networks(tmp_path: Path) -> None:
    form = FORM + 'networks = ["192.0.2.0/24"]\n'
    with site_at(furnished(tmp_path, form)) as site:
        assert show(site).status_code == 404
        assert send(site, {"what": "x"}).status_code == 404
        # Nobody is believed about where they are, unless the configuration says so.
        assert show(site, x_forwarded_for="192.0.2.7").status_code == 404


def test_trusted_proxy_provides_the_client_address(tmp_path: Path) -> None:
    form = FORM + 'networks = ["192.0.2.0/24"]\n[serve]\ntrusted_proxies = ["127.0.0.1/32"]\n'
    with site_at(furnished(tmp_path, form)) as site:
        assert show(site, x_forwarded_for="192.0.2.7").status_code == 200
        assert show(site, x_forwarded_for="203.0.113.9, 192.0.2.7").status_code == 200
        assert show(site, x_forwarded_for="192.0.2.7, 203.0.113.9").status_code == 404
        assert show(site, x_forwarded_for="192.0.2.7, 127.0.0.1").status_code == 200
        for nonsense in ("", "x", "192.0.2.7, x", "192.0.2.7:80"):
            assert show(site, x_forwarded_for=nonsense).status_code == 404


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.1", "10.0.0.1", "203.0.113.1"),
        ("10.0.0.9", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.9", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.9", "", None),
        ("testclient", "203.0.113.7", None),
    ],
)
def test_whose_request_it_is(peer: str, forwarded: str, found: str | None) -> None:
    scope = {
        "type": "http",
        "client": (peer, 1),
        "headers": [(b"x-forwarded-for", forwarded.encode())],
    }
    client = client_of(Request(scope), (ip_network("10.0.0.0/8"),))
    assert (str(client) if client else None) == found


def test_too_many_reports_ask_to_telephone(site: Site) -> None:
    for number in range(5):
        assert send(site, filled(site, contact=f"desk {number}")).status_code == 200
    answer = send(site, filled(site, contact="Ada"))
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert "A caller asked for my code" in answer.text
    assert len(site.incidents) == 5


def test_unsaved_report_asks_to_telephone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*given: object, **more: object) -> None:
        raise Unavailable("the ledger's PostgreSQL does not answer")

    with monkeypatch.context() as patched:
        patched.setattr("standfast.console.report_form.receive", away)
        answer = send(site, filled(site))
    assert answer.status_code == 503
    assert "A caller asked for my code" in answer.text
    assert "020 7946 0000" in answer.text
    assert "PostgreSQL" not in answer.text
    health = httpx.get(f"{site.url}/health", trust_env=False)
    assert (health.status_code, "cannot store data" in health.text) == (503, True)
    assert send(site, filled(site)).status_code == 200
    assert httpx.get(f"{site.url}/health", trust_env=False).status_code == 200


def test_reported_text_is_escaped(site: Site) -> None:
    words = "<script>alert(1)</script>\"'{{ 7*7 }}&amp;\x1b[2J"
    answer = send(site, {**filled(site), "token": "", "what": words, "account": words})
    assert "<script" not in answer.text
    assert answer.text.count("{{ 7*7 }}") == 2, "no text is executed as a template"
    assert "\x1b" not in answer.text
    assert words.replace("\x1b", "") in html.unescape(answer.text)


def test_page_needs_no_script_and_nothing_external(site: Site) -> None:
    page = show(site)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"https?:|//|<script|<link|<img|url\(|@import|\son\w+=", page.text)
    nonce = re.search(r"'nonce-([^']+)'", policy)
    assert nonce
    assert f'<style nonce="{nonce[1]}">' in page.text
    assert nonce[1] not in show(site).text


def test_the_page_speaks_the_readers_language(site: Site) -> None:
    for accepted, language in (
        ("de-AT,de;q=0.9", "de"),
        ("ja,fr;q=0.5", "fr"),
        ("ja", "en"),
        ("", "en"),
        ("x" * 9000, "en"),
    ):
        page = show(site, accept_language=accepted)
        assert f'<html lang="{language}">' in page.text, accepted
        assert WORDS[language].title in html.unescape(page.text), accepted


def test_local_language_precedes_english() -> None:
    assert pick("ja", ["es-MX", "en"]) == "es"
    assert pick("", ["ja"]) == "en"


def test_invalid_form_opens_nothing(site: Site) -> None:
    for body in (b"\xff", b"what=%ff", b"a=1&" * 50, b"what", b"", b"what=x" * 10_000):
        answer = httpx.post(
            f"{site.url}/report",
            content=body,
            headers={"content-type": "application/x-www-form-urlencoded"},
            trust_env=False,
        )
        assert answer.status_code in (400, 413), body[:20]
    assert site.incidents == []


def test_form_is_404_when_not_configured(tmp_path: Path) -> None:
    with site_at(furnish_with(tmp_path)) as site:
        assert show(site).status_code == 404


def test_every_language_has_every_word() -> None:
    for words in WORDS.values():
        assert all(vars(words).values()) if hasattr(words, "__dict__") else words
    assert set(WORDS) == {"en", "de", "es", "fr"}


@pytest.mark.parametrize("lacking", ["people", "sender"])
def test_undeliverable_pages_ask_to_telephone(tmp_path: Path, lacking: str) -> None:
    config_file = furnished(tmp_path)
    text = config_file.read_text().replace(
        'name = "Example', 'languages = ["en", "de", "es", "fr"]\nname = "Example'
    )
    if lacking == "sender":
        text = re.sub(r"\[senders\.mail\].*?(?=\n\[)", "", text, flags=re.DOTALL)
        text = text.replace('sender = "mail"\n', "")
    config_file.write_text(text)
    with site_at(config_file) as site:
        if lacking == "sender":
            enrol_people(site.installation)
        for language, words in WORDS.items():
            answer = send(site, filled(site, contact=language), accept_language=language)
            page = html.unescape(answer.text)
            row = site.installation.ledger.incidents.all()[-1]
            assert row.inputs["contact"] == language
            assert answer.status_code == 200
            assert row.id in page
            assert words.thanks_call in page
            assert words.thanks not in page
            assert site.installation.config.organisation.contact_line in page


def test_after_a_failed_page_reports_ask_to_telephone(site: Site) -> None:
    send(site, filled(site))
    form = triggers_of(site.installation.config)
    for page in due(site.installation):
        send_page(site.installation, page, form, "serve")  # to a mail server that is not there
    answer = send(site, filled(site))
    assert WORDS["en"].thanks_call in html.unescape(answer.text)
