"""A quiet incident is hidden from its subject and from all outsiders."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.config.sections.on_call import OnCallConfig
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ApprovalRefused
from standfast.ledger.incidents.incident_facts import Statement
from standfast.records import Mode
from standfast.triggers.input_mapping import parse
from standfast.usecases.alarms.notification import notify
from standfast.usecases.deadlines.calendar_feed import due_feed
from standfast.usecases.deadlines.legal_clocks import state_fact
from standfast.usecases.deadlines.reminders import reminders
from standfast.usecases.incidents.lifecycle import open_incident
from standfast.usecases.on_call.call_outs import acknowledge, attend
from standfast.usecases.triggers.message_intake import SignedTrigger, Trigger, receive
from standfast.usecases.triggers.trigger_pages import due, send
from tests.console.installations import Site, site_at
from tests.console.people import Browser, furnished
from tests.usecases.installations import enrol_people

QUIET = """\
playbook: hush
version: 1
title: Suspicion against one of us
quiet: true
use_when: One of us may misuse their access.
inputs:
  accounts: {type: accounts, required: true}
steps:
  look:
    title: Look at the records
    roles: [duty-manager]
    manual: Look.
"""
LAWS = """
[deadlines]
jurisdictions = ["EU/EEA"]
parts = ["controller"]
reminder_roles = ["duty-manager"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    config_file = furnished(tmp_path)
    config_file.write_text(config_file.read_text() + LAWS)
    (tmp_path / "own/hush.yaml").write_text(QUIET)
    with site_at(config_file) as found:
        enrol_people(found.installation)
        yield found


def opened(site: Site, account: str, opener: str = "os:test") -> str:
    case = open_incident(
        site.installation, "hush", {"accounts": [account]}, mode=Mode.LIVE, opened_by=opener
    ).incident
    aware = datetime(2026, 1, 1, tzinfo=UTC)
    state_fact(site.installation, case, Statement(kind=FactKind.TIME, name="awareness", at=aware))
    return case


def test_target_neither_sees_nor_stops_quiet_incident(site: Site) -> None:
    case = opened(site, "agents:kim")
    kim, lee = Browser(site), Browser(site)
    assert lee.sign_in("lee").status_code == kim.sign_in("kim").status_code == 303
    assert case in lee.get("/console").text
    assert case not in kim.get("/console").text
    word = kim.word
    unknown = kim.get("/console/inc-2000-0001")
    assert (unknown.status_code, kim.get(f"/console/{case}").text) == (404, unknown.text)
    for form in ("stop", "answer", "names", "decide"):
        fields = {"word": word, "step": "look", "text": "nothing found"}
        answer = kim.post(f"/console/{case}/{form}", fields)
        assert (answer.status_code, answer.text) == (404, unknown.text)
    assert not site.installation.ledger.incidents.is_stopped(case)
    lee.get(f"/console/{case}")
    assert lee.send("stop").status_code == 200
    assert site.installation.ledger.incidents.is_stopped(case)


def test_only_the_circle_reads_it_in_a_calendar(site: Site) -> None:
    for account in ("agents:kim", "KIM", "mail:kim@example.com"):
        case = opened(site, account)
        assert case in due_feed(site.installation, "lee")
        for subscriber in ("kim", "dana", "the-whole-team"):
            assert case not in due_feed(site.installation, subscriber)
    others = opened(site, "agents:mallory", "dana")
    assert others in due_feed(site.installation, "kim")


def test_outsiders_see_what_they_opened(site: Site) -> None:
    case, own = opened(site, "agents:mallory"), opened(site, "agents:trudy", "dana")
    dana = Browser(site)
    dana.sign_in("dana")
    page = dana.get("/console").text
    assert (case in page, own in page) == (False, True)


def test_a_trigger_pages_only_the_circle(site: Site) -> None:
    inputs = {"accounts": parse("{/user}")}
    trigger = SignedTrigger(name="siem", scenario="hush", inputs=inputs, secrets=())
    receive(site.installation, trigger, {"user": "agents:kim"}, message_id="one")
    for page in due(site.installation):
        send(site.installation, page, {"siem": trigger}, "direct")
    (told,) = site.installation.ledger.runs.all("page", "siem")
    assert told.summary["people"] == 1


def test_reminders_reach_only_the_circle(site: Site) -> None:
    opened(site, "agents:kim")
    raised = next(one for one in reminders(site.installation) if one.is_raised)
    assert notify(site.installation, raised, "direct")
    (told,) = site.installation.ledger.runs.all("alarm", raised.subject)
    assert told.summary["people"] == 1


def test_acknowledgement_covers_no_hidden_incident(site: Site) -> None:
    hidden = opened(site, "agents:mallory")
    inputs, calls = {"accounts": ["agents:trudy"]}, site.installation.ledger.call_outs
    case = open_incident(
        site.installation, "lock", inputs, mode=Mode.LIVE, opened_by="os:test"
    ).incident
    assert calls.begin("trigger.siem", case, [hidden, case], "os:test", site.installation.clock())
    assert acknowledge(site.installation, {}, case, "dana").ended == 1
    (found,) = calls.of_incident(case)
    assert found.covers == (case,)


def test_call_out_pages_only_the_circle(site: Site) -> None:
    rota = OnCallConfig.model_validate({"fallback": ["duty-manager", "operator"], "rounds": 1})
    config = site.installation.config.model_copy(update={"on_call": rota})
    installation = replace(site.installation, config=config)
    inputs = {"accounts": parse("{/user}")}
    triggers: dict[str, Trigger] = {
        "siem": SignedTrigger(name="siem", scenario="hush", inputs=inputs, secrets=())
    }
    message = {"user": "agents:kim"}
    case = receive(installation, triggers["siem"], message, message_id="one").incident
    for _ in attend(installation, triggers):
        break  # it has begun
    for name in ("kim", "dana"):
        with pytest.raises(ApprovalRefused, match="quiet incident"):
            acknowledge(installation, triggers, case, name)
    for _ in attend(installation, triggers):
        pass
    (found,) = installation.ledger.call_outs.of_incident(case)
    assert {page.person for page in found.pages} == {"lee"}
