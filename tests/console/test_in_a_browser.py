"""The console in a real browser, with a device that keeps passkeys."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.records import Mode, StepState
from standfast.usecases.incidents.lifecycle import advance, open_incident
from tests.console.installations import Site, site_at
from tests.console.people import exercised, furnished, state
from tests.servers import free_port
from tests.servers.chromium import Tab, running_chromium
from tests.usecases.evidence.test_bucket_copies import PLAYBOOK as KEEP_LOGS
from tests.usecases.installations import PASSPHRASES, enrol_people


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    with running_chromium() as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """The browser as nobody used it."""
    browser.ask("Network.clearBrowserCookies")
    browser.ask("WebAuthn.enable")
    yield browser
    browser.ask("WebAuthn.disable")  # and its devices are gone


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on loopback, which a browser accepts as safe without TLS."""
    port = free_port()
    installation = furnished(tmp_path, address=f"http://localhost:{port}")
    with site_at(installation, port=port) as found:
        enrol_people(found.installation)
        yield found


def go(tab: Tab, site: Site, path: str = "/console") -> None:
    tab.open(f"http://localhost:{site.port}{path}")


def type_in(tab: Tab, name: str, text: str) -> None:
    """Type into the field of that name which is seen."""
    found = (
        f"[...document.getElementsByName({json.dumps(name)})].find((one) => one.checkVisibility())"
    )
    tab.run(f"{found}.value = {json.dumps(text)}")


def button(words: str) -> str:
    """Return the script that finds the visible button with a text."""
    says = f"(one) => one.checkVisibility() && one.textContent === {json.dumps(words)}"
    return f"[...document.querySelectorAll('button')].find({says})"


def press(tab: Tab, words: str) -> None:
    tab.wait(f"Boolean({button(words)})")
    tab.run(f"{button(words)}.click()")


def until_shown(tab: Tab, words: str) -> None:
    tab.wait(f"document.body.innerText.includes({json.dumps(words)})")


def sign_in(tab: Tab, site: Site) -> None:
    go(tab, site)
    type_in(tab, "name", "lee")
    type_in(tab, "passphrase", PASSPHRASES["lee"])
    press(tab, "Sign in")
    until_shown(tab, "Sign out")


def add_passkey(tab: Tab, site: Site) -> None:
    go(tab, site, "/console/passkeys")
    type_in(tab, "passphrase", PASSPHRASES["lee"])
    press(tab, "Add a passkey")


def have_passkey(tab: Tab, site: Site) -> str:
    """Sign in and add a passkey of a new device; return the device's id."""
    device = tab.device()
    sign_in(tab, site)
    add_passkey(tab, site)
    until_shown(tab, "can sign for you")
    return device


def test_added_passkey_signs_from_then_on(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation, "shut")
    have_passkey(tab, site)

    tab.ask("Network.clearBrowserCookies")
    go(tab, site)
    press(tab, "Sign in with a passkey")
    until_shown(tab, "Sign out")

    go(tab, site, f"/console/{incident}")
    press(tab, "Approve with your passkey")
    until_shown(tab, "signed, 1 of 1")
    assert state(site, incident, "shut") is StepState.RUNNING
    assert site.installation.ledger.audit.verify().findings == ()


def test_a_passkey_answers_a_question(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation)
    have_passkey(tab, site)
    go(tab, site, f"/console/{incident}")
    press(tab, "no")
    until_shown(tab, "customers_affected: recorded.")
    steps = site.installation.ledger.incidents.state(incident).steps
    assert steps["customers_affected"].answer == "no"


def test_a_passkey_shows_frozen_logs_in_clear(tab: Tab, site: Site, tmp_path: Path) -> None:
    (tmp_path / "own" / "keep-logs.yaml").write_text(KEEP_LOGS)
    (tmp_path / "logs" / "desk.log").write_text(
        "2026-11-25T02:13:44Z sshd[7]: Accepted password for m.keller from 203.0.113.9 port 22\n"
    )
    opened = open_incident(site.installation, "keep-logs", {}, mode=Mode.LIVE, opened_by="dana")
    advance(site.installation, opened.incident, "direct")
    have_passkey(tab, site)
    go(tab, site, f"/console/{opened.incident}/review")
    press(tab, "Show the records, masked")
    until_shown(tab, "account-")
    assert "m.keller" not in tab.run("document.documentElement.outerHTML")
    type_in(tab, "reason", "case 4711")
    press(tab, "Show this page in clear")
    until_shown(tab, "m.keller")
    until_shown(tab, "Values are shown in clear: case 4711")


def test_stop_is_on_the_first_screen(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation)
    sign_in(tab, site)
    go(tab, site, f"/console/{incident}")
    top = tab.run("document.querySelector('details.stop').getBoundingClientRect().bottom")
    assert top < tab.run("innerHeight")
    tab.run("document.querySelector('details.stop summary').click()")
    press(tab, "Stop now")
    until_shown(tab, "Stopped:")
    assert site.installation.ledger.incidents.is_stopped(incident)


def test_a_page_refreshes_until_somebody_types(tab: Tab, site: Site) -> None:
    tab.ask("Page.enable")
    # In place of 30 seconds; of no use to the other tests, and no harm.
    by_hand = "window.setInterval = (work) => { window.tick = work; };"
    tab.ask("Page.addScriptToEvaluateOnNewDocument", source=by_hand)
    incident = exercised(site.installation)
    sign_in(tab, site)
    go(tab, site, f"/console/{incident}")
    tab.run("tick()")
    tab.wait("location.search === '?refresh'")
    tab.run("tick()")
    tab.wait("performance.getEntriesByType('navigation')[0].type === 'reload'")
    go(tab, site, f"/console/{incident}?typed")
    tab.run("document.dispatchEvent(new Event('input')); tick()")
    assert tab.run("location.search") == "?typed"
    go(tab, site, "/console/passkeys")  # there somebody chooses among devices
    assert not tab.run("document.querySelector('[data-refresh]')")


def test_a_refusal_by_the_device_is_one(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation, "shut")
    have_passkey(tab, site)
    go(tab, site, f"/console/{incident}")
    press(tab, "Refuse with your passkey")
    until_shown(tab, ": refused.")
    assert state(site, incident, "shut") is StepState.REFUSED


def test_unverified_device_signs_nothing(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation, "shut")
    device = have_passkey(tab, site)
    go(tab, site, f"/console/{incident}")
    tab.ask("WebAuthn.setUserVerified", authenticatorId=device, isUserVerified=False)
    press(tab, "Approve with your passkey")
    until_shown(tab, "Try again, or use the passphrase")
    assert state(site, incident, "shut") is StepState.ASKING


def test_one_device_has_one_passkey_of_a_person(tab: Tab, site: Site) -> None:
    have_passkey(tab, site)
    add_passkey(tab, site)
    until_shown(tab, "This device already has a passkey of yours.")
    assert len(site.installation.ledger.passkeys.of_person("lee")) == 1


def test_without_passkey_the_passphrase_signs(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation, "shut")
    sign_in(tab, site)
    go(tab, site, f"/console/{incident}")
    type_in(tab, "passphrase", PASSPHRASES["lee"])
    press(tab, "Approve")
    until_shown(tab, "signed, 1 of 1")
    assert state(site, incident, "shut") is StepState.RUNNING


def test_a_button_that_is_pressed_twice_signs_once(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation, "shut")
    have_passkey(tab, site)
    tab.ask("Network.clearBrowserCookies")
    go(tab, site)
    tab.wait(f"Boolean({button('Sign in with a passkey')})")
    tab.run(f"{{ const one = {button('Sign in with a passkey')}; one.click(); one.click(); }}")
    until_shown(tab, "Sign out")
    go(tab, site, f"/console/{incident}")
    tab.run(f"{{ const one = {button('Approve with your passkey')}; one.click(); one.click(); }}")
    until_shown(tab, "signed, 1 of 1")


def test_without_the_script_the_passphrase_does_it_all(tab: Tab, site: Site) -> None:
    tab.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        sign_in(tab, site)
        go(tab, site, "/console/passkeys")
        until_shown(tab, "A passkey needs a browser")
        assert not tab.run(f"Boolean({button('Add a passkey')})")
    finally:
        tab.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_the_pages_have_nothing_that_their_policy_forbids(tab: Tab, site: Site) -> None:
    incident = exercised(site.installation, "shut")
    tab.ask("Page.enable")  # otherwise no script is put into a page
    noted = (
        "addEventListener('securitypolicyviolation', (e) => window.forbidden.push(e.blockedURI))"
    )
    tab.ask("Page.addScriptToEvaluateOnNewDocument", source=f"window.forbidden = []; {noted}")
    go(tab, site)
    assert tab.run("window.forbidden") == []
    sign_in(tab, site)
    for path in ("/console", "/console/passkeys", f"/console/{incident}"):
        go(tab, site, path)
        assert tab.run("window.forbidden") == []
    inline = "document.body.append(Object.assign(document.createElement('script'), {text: '1'}))"
    tab.run(inline)
    tab.wait("window.forbidden.length > 0")
