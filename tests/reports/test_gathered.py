"""Pages of a real ledger: an exercise, a damage, no personal data."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from standfast.records import EffectState, Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import effect_undo
from standfast.usecases.incidents.lifecycle import advance, close, look, open_incident
from standfast.usecases.reports.result_pages import (
    incident_report,
    installation_report,
    write_incident_page,
    write_installation_page,
)
from tests.reports.build import Page
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

ACCOUNTS = ["alice", "bob", "carol"]
TWINS = 3  # people in every audience of an exercise
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A small place with its people."""
    with installation_at(furnish(tmp_path)) as opened:
        enrol_people(opened)
        yield opened


@pytest.fixture
def incident(installation: Installation) -> str:
    """An exercise that was carried on until the second person is asked."""
    opened = open_incident(
        installation,
        "account-takeover",
        {"accounts": ACCOUNTS},
        mode=Mode.EXERCISE,
        opened_by="dana",
    ).incident
    advance(installation, opened, "direct")
    step_decisions.answer(installation, opened, "customers_affected", "yes", by="lee")
    advance(installation, opened, "direct")
    return opened


def _approve(installation: Installation, incident: str) -> None:
    step_decisions.decide(installation, incident, "tell_customers", "lee", PASSPHRASES["lee"])
    advance(installation, incident, "direct")


def test_step_awaiting_approval_has_not_run(installation: Installation, incident: str) -> None:
    steps = {step.name: step for step in incident_report(installation, incident).steps}
    asking = steps["tell_customers"]
    assert asking.state is StepState.ASKING
    assert (asking.running_from, asking.ended_at) == (None, None)
    assert asking.counts == {EffectState.PLANNED: TWINS}
    assert steps["lock"].running_from == steps["lock"].began_at
    assert steps["customers_affected"].outcome == "answered yes"


def test_the_whole_story_is_gathered(installation: Installation, incident: str) -> None:
    _approve(installation, incident)
    undo = effect_undo.undo(installation, incident, targets=["alice"], requested_by="dana")
    advance(installation, incident, "direct")
    report = incident_report(installation, incident)
    steps = {step.name: step for step in report.steps}
    told = steps["tell_customers"]
    assert told.counts == {EffectState.DONE: TWINS}
    assert told.began_at is not None
    assert told.running_from is not None
    assert told.ended_at is not None
    assert told.began_at < told.running_from <= told.ended_at
    assert steps[undo.step].counts == {EffectState.DONE: 1}
    assert [(notice.audience, notice.counts) for notice in report.notices] == [
        ("staff", {EffectState.DONE: TWINS}),
        ("customers", {EffectState.DONE: TWINS}),
    ]
    assert sorted(one.who for one in report.accounts if one.is_restored) == ["agents:a***"]
    assert len(report.accounts) == 3
    assert [(d.person, d.action) for d in report.decisions] == [
        ("lee", "answered yes to"),
        ("lee", "approved"),
    ]
    assert dict(report.ways) == {"direct": 4}
    assert report.chain is not None
    assert report.chain.findings == ()
    assert report.chain.heads == report.chain.witnessed
    assert len(report.chain.head) == 64
    assert len(report.evidence) == 1


def test_a_page_shows_nobody_in_clear(
    installation: Installation, incident: str, tmp_path: Path
) -> None:
    _approve(installation, incident)
    step_decisions.answer(
        installation, incident, "watch", "met bob.builder@example.com at the gate"
    )
    advance(installation, incident, "direct")
    html = write_incident_page(installation, incident, tmp_path / "page.html").read_text()
    text = Page(html).text
    assert _ADDRESS.findall(html) == []
    for name in (*ACCOUNTS, "Customer 1", "at the gate", *PASSPHRASES.values()):
        assert name not in text


def test_recipients_not_notified_are_masked_with_reason(
    tmp_path: Path, scim_server: ScimServer, smtp_server: SmtpServer
) -> None:
    scim_server.create("alice")
    smtp_server.answer_recipient("ana@example.com", "550 5.1.1 no such mailbox")
    config = furnish(tmp_path, scim_url=scim_server.url, smtp_port=smtp_server.port)
    rows = ("email,name,language", "nobody", "ana@example.com,Ana,en", "ben@example.com,Ben,es")
    (tmp_path / "staff.csv").write_text("\n".join(rows) + "\n")
    with installation_at(config, token=scim_server.token) as installation:
        enrol_people(installation)
        incident = open_incident(
            installation,
            "account-takeover",
            {"accounts": ["alice"]},
            mode=Mode.LIVE,
            opened_by="dana",
        ).incident
        advance(installation, incident, "direct")
        report = incident_report(installation, incident)
    (notice,) = report.notices
    assert {one.who for one in notice.not_notified} == {"row 2", "a***@example.com"}
    assert {one.state for one in notice.not_notified} == {EffectState.REFUSED}
    assert all(one.reason for one in notice.not_notified)
    assert notice.by_language == {
        "en": {EffectState.REFUSED: 1},
        "es": {EffectState.DONE: 1},
        "none": {EffectState.REFUSED: 1},
    }
    (step,) = [step for step in report.steps if step.name == "tell_staff"]
    assert sum(reason.count for reason in step.reasons) == 2


def test_changed_row_is_shown_on_the_page(
    installation: Installation, incident: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE step SET reason = 'nothing to see here' WHERE name = 'lock'")
    text = Page(
        write_incident_page(installation, incident, tmp_path / "page.html").read_text()
    ).text
    assert "Do not trust this page" in text
    assert "changed outside the ledger" in text


def test_changed_event_is_shown_and_not_signed(
    installation: Installation, incident: str, tmp_path: Path
) -> None:
    installation.ledger.incidents.set_stopped(incident, True, "dana", installation.clock())
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
        ledger.execute(
            "UPDATE audit_event SET actor = 'kim' WHERE sequence = "
            "(SELECT max(sequence) FROM audit_event)"
        )
    text = Page(
        write_incident_page(installation, incident, tmp_path / "page.html").read_text()
    ).text
    assert "its hash differs" in text
    assert "The newest events are not signed." in text


def test_installation_page_names_incidents_with_next_step(
    installation: Installation, incident: str, tmp_path: Path
) -> None:
    other = open_incident(installation, "lock", {"accounts": ["bob"]}, mode=Mode.EXERCISE).incident
    advance(installation, other, "direct")
    close(installation, other, by="dana")
    report = installation_report(installation)
    assert [(one.incident, one.is_open) for one in report.incidents] == [
        (other, False),
        (incident, True),
    ]
    text = Page(write_installation_page(installation, tmp_path / "place.html").read_text()).text
    assert look(installation, incident).summary.next_step.replace("`", "") in text.replace(
        " .", "."
    )
