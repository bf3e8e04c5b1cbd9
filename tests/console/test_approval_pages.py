"""Approvals and answers on the console: content, limits, sign-in."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from standfast.console.application import App
from standfast.console.http_server import HttpServer
from standfast.console.sign_in import sessions
from standfast.console.sign_in.sign_in_pages import BROWSER_COOKIE, COOKIE
from standfast.ledger.incidents.trigger_messages import EXTENDED
from standfast.ledger.runs.call_outs import CallOutState
from standfast.people.passphrase_keys import enrol
from standfast.records import Mode, StepState
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.console.installations import Site, furnish_with, site_at
from tests.console.people import (
    Browser,
    ask_for_approval,
    exercised,
    furnished,
    site_of_people,
    state,
)
from tests.servers import wait_until
from tests.usecases.installations import OWNER, PASSPHRASES, enrol_people

OUR_SCRIPT = '<script src="/console/passkeys.js">'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_of_people(tmp_path) as found:
        yield found


@pytest.fixture
def incident(site: Site) -> str:
    """An exercise of dana's with a question about customers; its id."""
    return exercised(site.installation)


def test_console_is_off_by_default(tmp_path: Path) -> None:
    with site_at(furnish_with(tmp_path)) as found:
        assert Browser(found).get("/console").status_code == 404


def test_signed_out_visitor_sees_only_the_sign_in(site: Site, incident: str) -> None:
    nobody = Browser(site)
    for path in ("/console", f"/console/{incident}", "/console/inc-2000-0001"):
        answer = nobody.get(path)
        assert answer.status_code == 200
        assert 'name="passphrase"' in answer.text
        assert "account-takeover" not in answer.text.lower().replace(" ", "-")
    answer = nobody.post(f"/console/{incident}/stop", {"word": "x"})
    assert 'name="passphrase"' in answer.text
    assert not site.installation.ledger.incidents.is_stopped(incident)


def test_wrong_passphrase_and_unknown_name_look_equal(site: Site) -> None:
    nobody = Browser(site)
    wrong = nobody.sign_in("lee", PASSPHRASES["dana"])
    unknown = nobody.sign_in("nobody", PASSPHRASES["dana"])
    assert wrong.status_code == unknown.status_code == 403
    assert wrong.text == unknown.text or _alike(wrong) == _alike(unknown)
    assert nobody.cookie == ""


def _alike(answer: httpx.Response) -> str:
    """Remove the time of a page and a passkey's challenge, which differ."""
    return re.sub(r'<time.*?</time>|"[\w-]{75}"', "", answer.text)


@pytest.mark.usefixtures("no_time_passes")
def test_tries_are_bounded(site: Site) -> None:
    nobody = Browser(site)
    statuses = [nobody.sign_in("lee", "a wrong passphrase").status_code for _ in range(7)]
    assert statuses == [403] * 6 + [429]
    assert nobody.sign_in("lee").status_code == 429
    assert "Too many attempts. Try again in" in nobody.text
    assert nobody.cookie == ""


@pytest.mark.usefixtures("no_time_passes")
def test_ipv6_network_of_one_host_is_one_client(site: Site) -> None:
    def guess(address: str) -> int:
        return Browser(site, address).sign_in("lee", "a wrong passphrase").status_code

    assert [guess(f"2001:db8:0:1:{n}::1") for n in range(7)] == [403] * 6 + [429]
    assert guess("2001:db8:0:2::1") == 403


@pytest.mark.usefixtures("no_time_passes")
def test_guesses_block_neither_known_browsers_nor_signatures(
    site: Site, lee: Browser, incident: str
) -> None:
    ask_for_approval(site, lee, incident)
    for n in range(20):
        last = Browser(site, f"192.0.2.{n}").sign_in("lee", "a wrong passphrase")
    assert last.status_code == 429
    assert Browser(site, "198.51.100.1").sign_in("kim").status_code == 429
    lee.decide("lee", "approve")
    assert "signed, 1 of 1" in lee.text
    before = dict(lee.cookies)
    lee.cookies.pop(COOKIE)
    assert lee.sign_in("kim").status_code == 429  # only lee has signed in with this browser before
    assert lee.sign_in("lee").status_code == 303
    assert lee.cookies[BROWSER_COOKIE] != before[BROWSER_COOKIE]
    lee.cookies = {BROWSER_COOKIE: before[BROWSER_COOKIE]}
    tries = [lee.sign_in("lee", "a wrong passphrase").status_code for _ in range(6)]
    assert tries == [403] * 5 + [429]  # an old cookie has the same limit of attempts
    for forged in ("", ".", "x", f"{before[BROWSER_COOKIE]}0", "x" * 500, '".\\351"'):
        lee.cookies = {BROWSER_COOKIE: forged}
        assert lee.sign_in("lee").status_code == 429


def test_cookie_is_secure_host_only_and_http_only(site: Site) -> None:
    session, browser = Browser(site).sign_in("lee").headers.get_list("set-cookie")
    assert session.startswith("__Host-standfast=")
    assert browser.startswith("__Host-standfast-browser=")
    for given in (session.lower(), browser.lower()):
        for flag in ("httponly", "secure", "samesite=strict", "path=/"):
            assert flag in given
        assert "domain=" not in given


def test_pages_allow_own_script_and_no_frame(lee: Browser, incident: str) -> None:
    for path in ("/console", f"/console/{incident}"):
        answer = lee.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "script-src 'self';" in policy
        assert set(re.findall("<script[^>]*>", answer.text)) <= {OUR_SCRIPT}
        assert "http://" not in answer.text.replace("http://www.w3.org", "")


def test_sign_in_redirects_only_to_own_pages(site: Site, incident: str) -> None:
    browser = Browser(site)
    there = browser.sign_in("lee", path=f"/console/{incident}")
    assert there.headers["location"] == f"/console/{incident}"
    elsewhere = ("//example.com", "https://example.com", "/console/../x", "/console/a\n", "")
    for path in (*elsewhere, "/console/sign-in"):  # nor is the sign-in page a target
        assert browser.sign_in("kim", path=path).headers["location"] == "/console"


def test_first_page_lists_own_requests_first(site: Site, lee: Browser, incident: str) -> None:
    other = open_incident(
        site.installation, "lock", {"accounts": ["agents:bob"]}, mode=Mode.PLAN
    ).incident
    lee.get("/console")
    assert "Answer: Are customers affected?" in lee.text
    assert "Task: " in lee.text
    assert lee.page.index(incident) < lee.page.index(other)


def test_permitted_answer_lets_the_work_continue(
    tmp_path: Path,
) -> None:
    begun: list[str] = []
    with site_at(furnished(tmp_path)) as found:
        enrol_people(found.installation)
        app = App(installation=found.installation, triggers={}, begin_work=begun.append)
        server = HttpServer(app=app, host="127.0.0.1", port=0)
        server.begin()
        try:
            wait_until(server.is_listening.is_set, "HTTP is up")
            site = replace(found, app=app, url=f"http://127.0.0.1:{server.port}")
            incident = exercised(site.installation)
            lee = Browser(site)
            lee.sign_in("lee")
            lee.get(f"/console/{incident}")
            assert "Could the intruder" in lee.text
            assert lee.answer("lee", "yes").status_code == 200
            assert "customers_affected : recorded." in lee.text
            assert begun == [incident]
            given = site.installation.ledger.incidents.state(incident).steps["customers_affected"]
            assert given.answer == "yes"
        finally:
            server.end()


def test_question_without_role_has_no_form(site: Site, incident: str) -> None:
    dana = Browser(site)
    dana.sign_in("dana")
    dana.get(f"/console/{incident}")
    assert "You cannot do this:" in dana.text
    assert 'type="radio" name="text"' not in dana.page
    answer = dana.answer("dana", "no")
    assert answer.status_code == 409
    assert state(site, incident, "customers_affected") is StepState.PROMPTED


def test_answer_needs_the_passphrase(site: Site, lee: Browser, incident: str) -> None:
    lee.get(f"/console/{incident}")
    for given in ({}, {"passphrase": PASSPHRASES["kim"]}, {"passkey": "{}", "challenge": "x"}):
        answer = lee.send("answer", step="customers_affected", text="no", **given)
        assert answer.status_code == 409
        assert state(site, incident, "customers_affected") is StepState.PROMPTED
    assert lee.answer("lee", "no").status_code == 200
    steps = site.installation.ledger.incidents.state(incident).steps
    assert steps["customers_affected"].answer == "no"


def test_passphrase_signs_exactly_the_shown_plan(site: Site, lee: Browser, incident: str) -> None:
    ask_for_approval(site, lee, incident)
    assert "It acts on 3 recipients" in lee.text
    assert "It cannot be undone." in lee.text
    assert "The notice customers-account-takeover to customers." in lee.text
    assert "Text of the notice, es" in lee.text
    asked = site.installation.ledger.decisions.question(incident, "tell_customers")
    assert lee.digest == asked.digest
    sent = {"step": "tell_customers", "digest": lee.digest, "decision": "approve"}
    wrong = lee.send("decide", **sent, passphrase=PASSPHRASES["kim"])
    assert wrong.status_code == 409
    assert "not the passphrase of 'lee'" in lee.text
    lee.get(f"/console/{incident}")
    stale = {**sent, "digest": "0" * 64}
    assert lee.send("decide", **stale, passphrase=PASSPHRASES["lee"]).status_code == 409
    assert "nothing was signed" in lee.text
    assert state(site, incident, "tell_customers") is StepState.ASKING
    lee.get(f"/console/{incident}")
    for torn in ({"decision": "perhaps"}, {"digest": ""}, {"step": ""}):
        lee.send("decide", **{**sent, **torn}, passphrase=PASSPHRASES["lee"])
        assert "incomplete, so nothing was signed" in lee.text
    assert state(site, incident, "tell_customers") is StepState.ASKING
    lee.get(f"/console/{incident}")
    assert lee.send("decide", **sent, passphrase=PASSPHRASES["lee"]).status_code == 200
    assert "signed, 1 of 1" in lee.text
    advance(site.installation, incident, "direct")
    assert state(site, incident, "tell_customers") is StepState.DONE


def test_signed_refusal_prevents_the_step(site: Site, lee: Browser, incident: str) -> None:
    ask_for_approval(site, lee, incident)
    lee.decide("lee", "refuse")
    assert ": refused." in lee.text
    advance(site.installation, incident, "direct")
    assert state(site, incident, "tell_customers") is StepState.REFUSED


def test_requester_cannot_approve_on_the_console(site: Site, lee: Browser, incident: str) -> None:
    ask_for_approval(site, lee, incident)
    dana = Browser(site)
    dana.sign_in("dana")
    dana.get(f"/console/{incident}")
    assert 'name="decision"' not in dana.page
    assert "You cannot do this:" in dana.text
    assert dana.decide("dana", "approve").status_code == 409
    assert state(site, incident, "tell_customers") is StepState.ASKING


@pytest.mark.usefixtures("no_time_passes")
def test_signing_is_bounded_for_each_person(site: Site, lee: Browser, incident: str) -> None:
    ask_for_approval(site, lee, incident)
    form = {"step": "tell_customers", "digest": lee.digest, "decision": "approve"}
    for _ in range(6):
        lee.send("decide", **form, passphrase="not this one either")
    lee.send("decide", **form, passphrase=PASSPHRASES["lee"])
    assert "Too many attempts" in lee.text
    assert state(site, incident, "tell_customers") is StepState.ASKING


def test_form_needs_session_token_and_same_origin(site: Site, lee: Browser, incident: str) -> None:
    lee.get(f"/console/{incident}")
    path, kim = f"/console/{incident}/stop", Browser(site)
    kim.sign_in("kim")
    kim.get(f"/console/{incident}")
    assert 'name="passphrase"' in lee.post(path, {}).text
    assert 'name="passphrase"' in lee.post(path, {"word": kim.word}).text
    lee.get(f"/console/{incident}")
    for headers in ({"origin": "https://example.com"}, {"sec_fetch_site": "cross-site"}):
        word = lee.word
        assert lee.post(path, {"word": word}, **headers).status_code == 403
        lee.get(f"/console/{incident}")
    assert not site.installation.ledger.incidents.is_stopped(incident)


def test_stop_records_the_signed_in_person(site: Site, lee: Browser, incident: str) -> None:
    lee.get(f"/console/{incident}")
    assert lee.send("stop").status_code == 200
    assert "Stopped:" in lee.text
    assert site.installation.ledger.incidents.is_stopped(incident)
    (event,) = [
        one
        for one in site.installation.ledger.timeline(incident)
        if one.action == "incident.stopped"
    ]
    assert event.actor == "lee"


def test_acknowledge_button_ends_the_pages(site: Site, lee: Browser, incident: str) -> None:
    call_outs, now = site.installation.ledger.call_outs, site.installation.clock()
    assert "Acknowledge" not in lee.get(f"/console/{incident}").text
    assert call_outs.begin("trigger.siem", incident, [incident], "os:test", now)
    assert "People are being paged" in lee.get(f"/console/{incident}").text
    assert lee.send("acknowledge").status_code == 200
    assert "Acknowledged: nobody else is paged" in lee.text
    (call_out,) = call_outs.of_incident(incident)
    assert call_out.acknowledged_by == "lee"
    assert not site.installation.ledger.incidents.is_stopped(incident)


def test_unanswered_call_out_has_a_button(site: Site, lee: Browser, incident: str) -> None:
    call_outs, now = site.installation.ledger.call_outs, site.installation.clock()
    assert call_outs.begin("trigger.siem", incident, [incident], "os:test", now)
    (begun,) = call_outs.of_incident(incident)
    assert call_outs.end(begun, CallOutState.UNANSWERED, [incident], "os:test", now)
    assert "Nobody answered the pages" in lee.get(f"/console/{incident}").text
    assert lee.send("acknowledge").status_code == 200
    assert "Acknowledged late" in lee.text
    assert call_outs.of_incident(incident)[0].acknowledged_by == "lee"


def test_shown_names_are_recorded_for_the_reader(site: Site, lee: Browser) -> None:
    incident = exercised(site.installation, "shut")
    lee.get(f"/console/{incident}")
    assert "A lock shuts out people at work." in lee.text
    assert "agents:alice" not in lee.page
    assert _looks(site, incident) == []
    lee.send("names", step="shut", digest=lee.digest)
    assert "agents:alice" in lee.page
    assert _looks(site, incident) == ["lee"]
    assert "agents:alice" not in lee.get(f"/console/{incident}").text


def _looks(site: Site, incident: str) -> list[str]:
    there = site.installation.ledger.timeline(incident)
    return [event.actor for event in there if event.action == "targets.viewed"]


def test_session_ends_when_idle_signed_out_or_removed(
    site: Site, lee: Browser, incident: str
) -> None:
    cookie = lee.cookie
    lee.get("/console")
    lee.post("/console/sign-out", {"word": lee.word})
    lee.cookies[COOKIE] = cookie
    assert 'name="passphrase"' in lee.get("/console").text
    lee.sign_in("lee")
    lee.get("/console")
    word = lee.word
    site.installation.ledger.people.remove("lee", OWNER, site.installation.clock())
    lee.post(f"/console/{incident}/stop", {"word": word})
    assert not site.installation.ledger.incidents.is_stopped(incident)
    for path in ("/console", f"/console/{incident}"):
        assert 'name="passphrase"' in lee.get(path).text
    assert lee.sign_in("kim").status_code == 303  # another person may sign in on this phone


def test_second_sign_in_ends_the_earlier_session(site: Site, lee: Browser) -> None:
    before = lee.cookie
    lee.sign_in("lee")
    lee.cookies[COOKIE] = before
    assert 'name="passphrase"' in lee.get("/console").text


def test_session_has_idle_and_total_limits() -> None:
    now = [0.0]
    there = sessions.Sessions(monotonic=lambda: now[0])
    cookie = there.begin("lee")
    for _ in range(48):
        now[0] += sessions.IDLE_SECONDS - 1
        if now[0] > sessions.LONGEST_SECONDS:
            break
        assert there.find(cookie)
    now[0] = sessions.LONGEST_SECONDS + 1
    assert there.find(cookie) is None
    cookie = there.begin("lee")
    now[0] += sessions.IDLE_SECONDS + 1
    assert there.find(cookie) is None
    cookie = there.begin("lee")
    for _ in range(2):  # a page that refreshes itself keeps nobody signed in
        now[0] += sessions.IDLE_SECONDS * 0.6
        found = there.find(cookie, restarts_idle_time=False)
    assert found is None
    cookies = [there.begin("lee") for _ in range(sessions.MOST + 1)]
    assert there.find(cookies[0]) is None
    assert there.find(cookies[-1])
    assert there.find("a guess") is None


def test_a_passphrase_of_any_letters_signs_in(site: Site) -> None:
    words = "жёлтый дом у реки ☂ & = %"
    credential = enrol(words)
    site.installation.ledger.people.enrol(
        name="mia",
        full_name="Mia",
        mail="mia@example.com",
        accounts=[],
        roles=["duty-manager"],
        public_key=credential.public_key,
        salt=credential.salt,
        enrolled_by="os:test",
        now=site.installation.clock(),
    )
    assert Browser(site).sign_in("mia", words).status_code == 303


def test_invalid_form_changes_nothing(site: Site, lee: Browser, incident: str) -> None:
    headers = {
        "cookie": f"{COOKIE}={lee.cookie}",
        "content-type": "application/x-www-form-urlencoded",
    }
    for body in (b"\xff\xfe", b"a=1&" * 100, b"word=%ff", b"x" * 20_000):
        answer = httpx.post(
            f"{site.url}/console/{incident}/stop", content=body, headers=headers, trust_env=False
        )
        assert answer.status_code in (200, 413)
    assert not site.installation.ledger.incidents.is_stopped(incident)


def test_impossible_name_is_an_unknown_name(tmp_path: Path, postgres_ledger_url: str) -> None:
    """On PostgreSQL, which takes no NUL."""
    with site_at(furnished(tmp_path, postgres_ledger_url)) as site:
        enrol_people(site.installation)
        browser = Browser(site)
        assert browser.sign_in("lee\0", PASSPHRASES["lee"]).status_code == 403
        assert browser.sign_in("lee").status_code == 303
        incident = exercised(site.installation)
        assert browser.get("/console/inc-2026-0001%00").status_code == 404
        browser.get(f"/console/{incident}")
        browser.answer("lee", "y\0es")
        assert 'name="passphrase"' in browser.page


def test_note_of_the_reader_is_recorded(site: Site, incident: str) -> None:
    lee = Browser(site)
    lee.sign_in("lee")
    lee.get(f"/console/{incident}")
    page = lee.send("note", text="Seen <here>.")
    assert "Seen &lt;here&gt;." in page.text
    (note,) = site.installation.ledger.notes.of_incident(incident)
    assert (note.author, note.text) == ("lee", "Seen <here>.")


def test_added_accounts_need_the_passphrase(site: Site, incident: str) -> None:
    lee = Browser(site)
    lee.sign_in("lee")
    lee.get(f"/console/{incident}")
    fields = {"input": "accounts", "accounts": "agents:carol\nagents:dave"}
    assert lee.send("add", **fields, passphrase="a wrong passphrase").status_code == 409
    too_many = {"input": "accounts", "accounts": "agents:carol " * 2_000}
    assert lee.send("add", **too_many, passphrase=PASSPHRASES["lee"]).status_code == 409
    assert extensions(site, incident) == []
    page = lee.send("add", **fields, passphrase=PASSPHRASES["lee"])
    assert "2 accounts added" in page.text
    assert extensions(site, incident) == ["lee"]


def extensions(site: Site, incident: str) -> list[str]:
    """Return the people that added accounts."""
    timeline = site.installation.ledger.timeline(incident)
    return [event.actor for event in timeline if event.action == EXTENDED]
