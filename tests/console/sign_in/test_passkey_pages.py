"""Passkeys on the console: added by passphrase, then enough alone."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from standfast.console.sign_in import passkey_challenges
from standfast.errors import ApprovalRefused
from standfast.records import StepState
from standfast.usecases.people.enrolment import remove_person
from standfast.usecases.people.passkeys import remove_passkey
from standfast.webauthn import challenge_for, decoded
from tests.console.installations import Site, site_at
from tests.console.people import (
    ADDRESS,
    Browser,
    ask_for_approval,
    exercised,
    site_of_people,
    state,
)
from tests.passkey_device import Device
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import OWNER, PASSPHRASES


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_of_people(tmp_path) as found:
        yield found


@pytest.fixture
def device(lee: Browser) -> Device:
    """Return a device with a passkey of lee."""
    found = Device()
    assert "can sign for you" in add(lee, found).text
    return found


def challenge(browser: Browser, what: str = "") -> bytes:
    """Return the challenge of the page, for a decision if one is named."""
    pattern = rf'value="{what}" data-challenge="([^"]+)"' if what else r'data-challenge="([^"]+)"'
    found = re.search(pattern, browser.page)
    assert found
    return decoded(found[1])


def hidden(browser: Browser) -> str:
    found = re.search(r'name="challenge" value="([^"]+)"', browser.page)
    assert found
    return found[1]


def add(browser: Browser, device: Device, passphrase: str = PASSPHRASES["lee"]) -> httpx.Response:
    browser.get("/console/passkeys")
    fields = {"word": browser.word, "challenge": hidden(browser), "passphrase": passphrase}
    said = device.make(challenge(browser))
    return browser.post("/console/passkeys/add", {**fields, "passkey": said})


def sign_in(browser: Browser, device: Device) -> httpx.Response:
    browser.get("/console")
    fields = {"challenge": hidden(browser), "path": "/console"}
    said = device.sign(challenge(browser))
    return browser.post("/console/sign-in", {**fields, "passkey": said})


def decide(browser: Browser, device: Device, decision: str, signs: str = "") -> httpx.Response:
    said = device.sign(challenge(browser, signs or decision))
    return browser.send(
        "decide", step="tell_customers", digest=browser.digest, decision=decision, passkey=said
    )


def test_passkey_signs_in_and_approves_without_passphrase(
    site: Site, lee: Browser, device: Device
) -> None:
    incident = exercised(site.installation)
    ask_for_approval(site, lee, incident)
    phone = Browser(site)
    assert sign_in(phone, device).status_code == 303
    phone.get(f"/console/{incident}")
    answer = decide(phone, device, "approve")
    assert answer.status_code == 200, phone.text
    assert "signed, 1 of 1" in phone.text
    assert state(site, incident, "tell_customers") is StepState.RUNNING
    assert site.installation.ledger.timeline(incident, or_by="lee")[-1].action == "approval.approve"
    assert site.installation.ledger.audit.verify().findings == ()


def test_added_passkey_is_announced_by_mail(tmp_path: Path, smtp_server: SmtpServer) -> None:
    """An intruder that knows the passphrase is seen by its owner."""
    with site_of_people(tmp_path, smtp_port=smtp_server.port) as site:
        lee = Browser(site)
        lee.sign_in("lee")
        add(lee, Device())
        assert "The mail about it failed" not in lee.text
        (added,) = site.installation.ledger.passkeys.of_person("lee")
    (mail,) = smtp_server.delivered
    assert mail.recipients == ("lee@example.com",)
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert f"standfast people remove-passkey lee {added.id[:8]}" in body.get_content()


def test_page_reports_unsent_passkey_mail(site: Site, lee: Browser, device: Device) -> None:
    assert "The mail about it failed" in lee.text
    assert len(site.installation.ledger.passkeys.of_person("lee")) == 1


def test_a_passkey_refuses(site: Site, lee: Browser, device: Device) -> None:
    incident = exercised(site.installation)
    ask_for_approval(site, lee, incident)
    assert decide(lee, device, "refuse").status_code == 200
    assert state(site, incident, "tell_customers") is StepState.REFUSED


def test_signed_refusal_is_no_approval(site: Site, lee: Browser, device: Device) -> None:
    incident = exercised(site.installation)
    ask_for_approval(site, lee, incident)
    assert decide(lee, device, "approve", signs="refuse").status_code == 409
    assert "does not match the request" in lee.text
    assert state(site, incident, "tell_customers") is StepState.ASKING


def test_person_without_passkey_uses_the_passphrase(site: Site, lee: Browser) -> None:
    incident = exercised(site.installation)
    ask_for_approval(site, lee, incident)
    assert "Approve with your passkey" not in lee.text
    assert lee.decide("lee", "approve").status_code == 200


def test_passphrase_works_as_well_as_passkey(site: Site, lee: Browser, device: Device) -> None:
    incident = exercised(site.installation)
    ask_for_approval(site, lee, incident)
    assert "Approve with your passkey" in lee.text
    assert lee.decide("lee", "approve").status_code == 200
    assert state(site, incident, "tell_customers") is StepState.RUNNING


def test_only_own_passphrase_adds_a_passkey(site: Site, lee: Browser) -> None:
    add(lee, Device(), PASSPHRASES["kim"])
    assert "not the passphrase of 'lee'" in lee.text
    assert "You have no passkey yet" in lee.text
    assert sign_in(Browser(site), Device()).status_code == 403


def test_a_page_is_signed_once(site: Site, lee: Browser, device: Device) -> None:
    phone = Browser(site)
    phone.get("/console")
    fields = {
        "challenge": hidden(phone),
        "path": "/console",
        "passkey": device.sign(challenge(phone)),
    }
    assert phone.post("/console/sign-in", fields).status_code == 303
    thief = Browser(site)
    assert thief.post("/console/sign-in", fields).status_code == 403
    assert "Press the button again" in thief.text
    assert thief.cookie == ""


def test_expired_page_signs_nobody_in() -> None:
    now = [0.0]
    given = passkey_challenges.Challenges(monotonic=lambda: now[0])
    old, young = given.issue("sign-in"), given.issue("sign-in")
    now[0] = passkey_challenges.LASTS_SECONDS - 1
    given.use(given.read("sign-in", young))
    now[0] = passkey_challenges.LASTS_SECONDS
    with pytest.raises(ApprovalRefused, match="expired or used before"):
        given.use(given.read("sign-in", old))


@pytest.mark.parametrize("change", ["purpose", "process", "cut", "none"])
def test_challenge_counts_only_for_its_purpose(change: str) -> None:
    given = passkey_challenges.Challenges()
    text = given.issue("sign-in")
    asked = passkey_challenges.Challenges() if change == "process" else given
    text = {"cut": text[:-4], "none": ""}.get(change, text)
    with pytest.raises(ApprovalRefused, match="Press the button again"):
        asked.read("passkey of lee" if change == "purpose" else "sign-in", text)


def test_passkey_of_other_site_or_unverified_is_refused(
    lee: Browser,
) -> None:
    add(lee, Device(origin="https://standfast.example.com.evil.example"))
    assert "requested by another site" in lee.text
    add(lee, replace(Device(), flags=Device.flags & ~4))
    assert "does not match the request" in lee.text
    assert "You have no passkey yet" in lee.text


def test_a_removed_passkey_signs_nobody_in(site: Site, lee: Browser, device: Device) -> None:
    lee.get("/console/passkeys")
    found = re.search(r'name="id" value="([0-9a-f]{64})"', lee.page)
    assert found
    lee.post("/console/passkeys/remove", {"word": lee.word, "id": found[1]})
    assert "can no longer sign" in lee.text
    assert "You have no passkey yet" in lee.text
    phone = Browser(site)
    assert sign_in(phone, device).status_code == 403
    assert "was removed" in phone.text


def test_passkey_of_removed_person_signs_nobody_in(
    site: Site, lee: Browser, device: Device
) -> None:
    remove_person(site.installation, "lee", OWNER)
    phone = Browser(site)
    assert sign_in(phone, device).status_code == 403
    assert phone.cookie == ""


def test_passkey_of_earlier_address_signs_nothing(tmp_path: Path) -> None:
    """The new holder of that address could request and forward signatures."""
    device = Device()
    with site_of_people(tmp_path) as site:
        lee = Browser(site)
        lee.sign_in("lee")
        add(lee, device)
        incident = exercised(site.installation, "shut")
    settings = tmp_path / "standfast.toml"
    settings.write_text(settings.read_text().replace(ADDRESS, "https://new.example.com"))
    with site_at(settings) as site:
        lee = Browser(site)
        lee.sign_in("lee")
        lee.get("/console/passkeys")
        assert f"This passkey belongs to {ADDRESS}. It cannot sign at" in lee.text
        lee.get(f"/console/{incident}")
        assert "Approve with your passkey" not in lee.text
        asked = site.installation.ledger.decisions.question(incident, "shut").message(
            "lee", "approve"
        )
        fields = {"step": "shut", "digest": lee.digest, "decision": "approve"}
        answer = lee.send("decide", **fields, passkey=device.sign(challenge_for(asked)))
        assert answer.status_code == 409
        assert "for another site than https://new.example.com" in lee.text
        assert state(site, incident, "shut") is StepState.ASKING
        old = Browser(site)
        assert sign_in(old, device).status_code == 403
        assert "Add a passkey at this address" in old.text


def test_removed_passkey_ends_its_session(site: Site, lee: Browser, device: Device) -> None:
    phone = Browser(site)
    sign_in(phone, device)
    assert "Sign out" in phone.get("/console").text
    (one,) = site.installation.ledger.passkeys.of_person("lee")
    remove_passkey(site.installation, "lee", one.id)
    assert "Sign out" not in phone.get("/console").text
    assert "Sign out" in lee.get("/console").text


def test_signed_out_person_reads_that_nothing_was_done(
    site: Site, lee: Browser, device: Device
) -> None:
    incident = exercised(site.installation, "shut")
    lee.get(f"/console/{incident}")
    said = device.sign(challenge(lee, "approve"))
    word, digest = lee.word, lee.digest
    lee.post("/console/sign-out", {"word": word})
    fields = {"word": word, "step": "shut", "digest": digest, "decision": "approve"}
    lee.post(f"/console/{incident}/decide", {**fields, "passkey": said})
    assert "Your session has ended. Nothing was done" in lee.text
    assert state(site, incident, "shut") is StepState.ASKING


def test_junk_does_not_lock_passkey_users_out(site: Site, lee: Browser, device: Device) -> None:
    for number in range(40):
        junk = {"passkey": f"junk {number}", "challenge": "x", "path": "/console"}
        assert Browser(site).post("/console/sign-in", junk).status_code == 403
    assert sign_in(Browser(site), device).status_code == 303


@pytest.mark.usefixtures("no_time_passes")
def test_passphrases_are_not_guessed_by_adding_passkeys(site: Site) -> None:
    lee = Browser(site)
    lee.sign_in("lee")
    codes = [add(lee, Device(), f"a wrong guess {number}").status_code for number in range(7)]
    assert codes == [409] * 7
    assert "Too many attempts" in lee.text
    assert site.installation.ledger.passkeys.of_person("lee") == []


def test_nobody_removes_the_passkey_of_another(site: Site, lee: Browser, device: Device) -> None:
    (theirs,) = site.installation.ledger.passkeys.of_person("lee")
    kim = Browser(site)
    kim.sign_in("kim")
    kim.get("/console/passkeys")
    kim.post("/console/passkeys/remove", {"word": kim.word, "id": theirs.id})
    assert "has no passkey" in kim.text
    assert site.installation.ledger.passkeys.of_person("lee") == [theirs]


def test_passkey_forms_need_the_same_origin(site: Site, lee: Browser) -> None:
    lee.get("/console/passkeys")
    fields = {"word": lee.word, "challenge": hidden(lee), "passphrase": PASSPHRASES["lee"]}
    fields["passkey"] = Device().make(challenge(lee))
    other = lee.post("/console/passkeys/add", fields, sec_fetch_site="cross-site")
    assert other.status_code == 403
    wrong = lee.post("/console/passkeys/add", {**fields, "word": "another"})
    assert 'name="passphrase"' in wrong.text
    assert site.installation.ledger.passkeys.of_person("lee") == []


def test_passphrase_guesses_do_not_block_passkeys(site: Site, lee: Browser, device: Device) -> None:
    guesser = Browser(site)
    codes = {guesser.sign_in("lee", f"a wrong guess {number}").status_code for number in range(12)}
    assert 429 in codes
    assert sign_in(Browser(site), device).status_code == 303


def test_script_loads_nothing_from_outside(site: Site) -> None:
    answer = httpx.get(f"{site.url}/console/passkeys.js", trust_env=False, timeout=30)
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "http" not in answer.text
    assert "eval" not in answer.text
