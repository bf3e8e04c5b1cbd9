"""Legal clocks of an incident: facts, reminders by mail, forms, a feed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar

from standfast.deadlines.incident_facts import FactKind
from standfast.deadlines.legal_clocks import Clock, ClockState
from standfast.errors import ConfigurationError, Refused, UsageError
from standfast.ledger.incidents.incident_facts import Statement
from standfast.records import DeliveryEvent, DeliveryState, Mode, StepState
from standfast.reports.authority_form_page import form_page
from standfast.usecases.approvals.step_decisions import decide
from standfast.usecases.approvals.step_retry import retry
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.calendar_feed import due_calendar
from standfast.usecases.deadlines.legal_clocks import (
    filled_form,
    incident_clocks,
    is_open,
    refuse_blocked,
    state_fact,
)
from standfast.usecases.deadlines.obligations import reach
from standfast.usecases.health.watchdog import keep_watch
from standfast.usecases.incidents.lifecycle import advance, close, open_incident
from standfast.usecases.incidents.result_summary import step_reasons
from standfast.usecases.notice_follow_up import individual_notices
from standfast.usecases.reports.result_pages import heading
from standfast.usecases.triggers.plan_promotion import carry_out
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
AUTHORITY = "eu-gdpr-33-authority"
LAWS = """
[deadlines]
jurisdictions = ["EU/EEA", "US-MD"]
parts = ["controller"]
authority_country = "DE"
reminder_roles = ["duty-manager"]

[playbooks]
folder = "playbooks"

[contracts.acme]
client = "Acme Bank"
section = "12.3"
within = 24
"""
PLAYBOOK = """
playbook: look
version: 1
title: Look
use_when: Something is to be looked at.
steps:
  look:
    title: Look
    manual: Look at it.
"""
TELLING = """
playbook: tell
version: 1
title: Tell
use_when: People are to be told.
steps:
  staff:
    title: Tell the staff
    do: notices.send
    with: {template: staff-heads-up, audience: staff, context: {what_happened: account-takeover}}
    approval: {none_because: a test}
  people:
    title: Tell the customers
    do: notices.send
    with:
      template: customers-account-takeover
      audience: customers
      context: {what_happened: account-takeover}
    approval: {count: 1}
"""


@dataclass
class Office:
    """An installation with laws, a live incident and a movable clock."""

    installation: Installation
    smtp: SmtpServer
    now: list[datetime] = field(default_factory=lambda: [NOW])

    def forward(self, **much: float) -> None:
        self.now[0] += timedelta(**much)

    def open_incident(self, mode: Mode = Mode.LIVE) -> str:
        incident, _ = self.installation.ledger.incidents.open(
            scenario="lock",
            mode=mode,
            playbook=PLAYBOOK,
            adapters=[],
            inputs={},
            opened_by="dana",
            is_signed=False,
            trigger=None,
            now=self.now[0],
        )
        return incident

    def state(self, incident: str, kind: FactKind, name: str, **what: Any) -> bool:
        if kind in (FactKind.TIME, FactKind.NOTIFIED):
            what = {"at": self.now[0], **what}
        return state_fact(self.installation, incident, Statement(kind=kind, name=name, **what))

    def clock(self, incident: str, obligation: str) -> Clock:
        found = incident_clocks(self.installation, incident)
        return next(clock for clock in found if clock.obligation.id == obligation)

    def watch(self) -> list[str]:
        """Run the watch once; return the subjects of its mails on deadlines."""
        before = len(self.smtp.delivered)
        troubles = keep_watch(self.installation, "direct").troubles
        assert troubles == ()
        return [_subject(mail.message) for mail in self.smtp.delivered[before:]]


def _subject(message: EmailMessage) -> str:
    return str(message["Subject"])


@pytest.fixture
def office(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Office]:
    config_file = furnish(tmp_path, smtp_port=smtp_server.port)
    config_file.write_text(config_file.read_text() + LAWS)
    now = [NOW]
    with installation_at(config_file, clock=lambda: now[0]) as installation:
        enrol_people(installation, "lee")
        yield Office(installation=installation, smtp=smtp_server, now=now)


def test_fact_starts_and_receipt_ends_a_clock(office: Office) -> None:
    incident = office.open_incident()
    assert office.clock(incident, AUTHORITY).state is ClockState.NOT_STARTED
    assert office.state(incident, FactKind.TIME, "awareness")
    clock = office.clock(incident, AUTHORITY)
    assert clock.due is not None
    assert clock.due.strict == NOW + timedelta(hours=72)
    office.forward(hours=70)
    assert office.state(incident, FactKind.NOTIFIED, AUTHORITY, reference="case 4711")
    clock = office.clock(incident, AUTHORITY)
    assert (clock.state, clock.because) == (ClockState.MET, "case 4711")
    assert not is_open(clock)
    assert office.installation.ledger.audit.verify().is_whole


def test_missed_clocks_come_first(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    office.forward(hours=25)
    order = [clock.obligation.id for clock in incident_clocks(office.installation, incident)]
    assert order[:2] == ["contract-acme", "eu-gdpr-34-individuals"]
    assert order.index(AUTHORITY) < order.index("us-md-residents")


@pytest.mark.parametrize(
    ("kind", "name", "what", "says"),
    [
        (FactKind.TIME, "awarness", {}, "did you mean 'awareness'"),
        (FactKind.NOTIFIED, "eu-gdpr-99", {}, "'eu-gdpr-99': unknown"),
        (
            FactKind.NOTIFIED,
            "eu-gdpr-99",
            {},
            "`standfast deadline list --all` names the obligations",
        ),
        (FactKind.AFFECTED, "US-XX", {"count": 1}, "'US-XX': unknown"),
        (FactKind.AFFECTED, "Mars", {"count": 1}, "`standfast deadline places` lists the places"),
        (FactKind.TIME, "landing", {}, "`standfast deadline places` lists the facts"),
        (FactKind.CONTENT, "weather", {}, "`standfast deadline places` lists the topics"),
        (FactKind.AFFECTED, "US-CA", {"count": -1}, "is negative"),
        (FactKind.DELAY, "US-FL", {}, "needs the document"),
        (FactKind.DELAY, "Mars", {}, "lists the places, `standfast deadline list --all`"),
        (FactKind.CONTENT, "what_happened", {}, "text of a notice is missing"),
        (FactKind.TIME, "awareness", {"at": NOW + timedelta(days=1)}, "in the future"),
    ],
)
def test_unfit_fact_is_refused(
    office: Office, kind: FactKind, name: str, what: dict[str, object], says: str
) -> None:
    incident = office.open_incident()
    with pytest.raises(UsageError, match=says):
        office.state(incident, kind, name, **what)
    assert list(office.installation.ledger.facts.of_incident(incident)) == []


def test_each_mark_reminds_once_until_receipt(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    authority = "competent supervisory authority (Art. 55)"

    def about_authority() -> list[str]:
        return [subject for subject in office.watch() if authority in subject]

    assert about_authority() == []
    due = f"Due 5 March 2026, 12:30 UTC: {incident}, notify {authority}"
    for hours in (36, 18, 11):  # 50, 75 and 90 per cent
        office.forward(hours=hours)
        assert about_authority() == [due]
        assert about_authority() == []
    office.forward(hours=8)
    assert about_authority() == [f"MISSED: {incident}, notify {authority}"]
    assert about_authority() == []
    office.state(incident, FactKind.NOTIFIED, AUTHORITY, reference="case 4711")
    assert f"Nothing is due any more: {incident}" in office.watch()
    assert not [subject for subject in office.watch() if incident in subject]


def test_obligation_without_number_reminds_at_start(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    people = "affected data subjects"
    assert f"Due now: {incident}, notify {people}" in office.watch()
    assert not [subject for subject in office.watch() if people in subject]


def test_closing_an_incident_ends_no_legal_clock(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    office.watch()
    close(office.installation, incident, by="lee")
    office.forward(hours=37)
    authority = "competent supervisory authority (Art. 55)"
    assert f"Due 5 March 2026, 12:30 UTC: {incident}, notify {authority}" in office.watch()
    office.forward(hours=60)
    assert f"MISSED: {incident}, notify {authority}" in office.watch()


def test_facts_of_a_plan_count_when_promoted(office: Office) -> None:
    installation = office.installation
    (installation.config.folder / "playbooks").mkdir()
    (installation.config.folder / "playbooks/tell.yaml").write_text(TELLING)
    plan = open_incident(installation, "tell", {}, mode=Mode.PLAN).incident
    office.state(plan, FactKind.TIME, "awareness", reference="the mail of Monday")
    began = office.now[0]
    office.forward(hours=60)
    opened = carry_out(installation, plan, "dana").incident
    assert office.clock(opened, AUTHORITY).started_at == began
    # A second promotion does not replace a fact that was corrected meanwhile.
    office.state(opened, FactKind.TIME, "awareness", at=NOW - timedelta(hours=1))
    assert carry_out(installation, plan, "dana").incident == opened
    assert office.clock(opened, AUTHORITY).started_at == NOW - timedelta(hours=1)


def test_endless_delay_reminds_weekly(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    office.watch()
    residents = "us-md-residents"
    office.state(incident, FactKind.TIME, "investigation_concluded")
    office.state(incident, FactKind.DELAY, residents, reference="letter of 2 March")
    assert office.clock(incident, residents).state is ClockState.HELD
    name = office.clock(incident, residents).obligation.recipient_name

    def asks() -> list[str]:
        return [subject for subject in office.watch() if "ask again" in subject]

    assert asks() == []
    for _ in range(2):
        office.forward(days=7)
        assert asks() == [f"{incident}: ask again whether {name} may be notified"]
        assert asks() == []
    until = office.now[0] + timedelta(days=60)
    office.state(incident, FactKind.DELAY, residents, reference="letter of May", at=until)
    office.forward(days=8)
    assert asks() == []


def test_delay_without_legal_basis_needs_a_reason(
    office: Office,
) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    due = office.clock(incident, AUTHORITY).due
    until = NOW + timedelta(days=20)
    with pytest.raises(UsageError, match="later notice allowed"):
        office.state(incident, FactKind.DELAY, AUTHORITY, reference="letter 7", at=until)
    with pytest.raises(UsageError, match="its delay clause is empty"):
        office.state(incident, FactKind.DELAY, "contract-acme", reference="letter 7")
    with pytest.raises(UsageError, match="EU/EEA"):
        office.state(incident, FactKind.DELAY, "EU/EEA", reference="letter 7", is_so=True)
    clock = office.clock(incident, AUTHORITY)
    assert (clock.state, clock.due) == (ClockState.RUNNING, due)
    said = {"reference": "letter 7; counsel: § 4 of our law", "at": until, "is_so": True}
    office.state(incident, FactKind.DELAY, AUTHORITY, **said)
    clock = office.clock(incident, AUTHORITY)
    assert (clock.state, clock.because) == (ClockState.HELD, said["reference"])
    mistaken = {"reference": "it was about another incident", "is_so": False}
    office.state(incident, FactKind.DELAY, AUTHORITY, **mistaken)
    clock = office.clock(incident, AUTHORITY)
    assert (clock.state, clock.due) == (ClockState.RUNNING, due)
    for kind in (FactKind.DELAY, FactKind.NOTIFIED):
        with pytest.raises(UsageError, match=r"contract-acme was .*nothing is withdrawn"):
            office.state(incident, kind, "contract-acme", **mistaken)


def test_receipt_before_the_event_ends_nothing(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    receipt = {"reference": "case 4711", "at": NOW - timedelta(hours=3)}
    with pytest.raises(UsageError, match="2026-03-02 09:30 UTC"):
        office.state(incident, FactKind.NOTIFIED, AUTHORITY, **receipt)
    assert office.clock(incident, AUTHORITY).state is ClockState.RUNNING
    office.state(incident, FactKind.TIME, "occurrence", at=NOW - timedelta(hours=4))
    office.state(incident, FactKind.NOTIFIED, AUTHORITY, **receipt)
    assert office.clock(incident, AUTHORITY).state is ClockState.MET


def test_past_delay_only_ends_a_running_one(
    office: Office,
) -> None:
    incident, residents = office.open_incident(), "us-md-residents"
    office.state(incident, FactKind.TIME, "investigation_concluded")
    letter = {"reference": "letter of 2 March"}
    year_ago = NOW - timedelta(days=365)
    with pytest.raises(UsageError, match="2025-03-02 12:30 UTC"):
        office.state(incident, FactKind.DELAY, residents, **letter, at=year_ago)
    assert office.clock(incident, residents).state is ClockState.RUNNING
    office.state(incident, FactKind.DELAY, residents, **letter)
    office.forward(days=60)
    with pytest.raises(UsageError, match="2026-03-02 12:30 UTC"):
        office.state(incident, FactKind.DELAY, residents, **letter, at=year_ago)
    assert office.clock(incident, residents).state is ClockState.HELD
    yesterday = office.now[0] - timedelta(days=1)
    office.state(incident, FactKind.DELAY, residents, reference="they called", at=yesterday)
    clock = office.clock(incident, residents)
    assert clock.due is not None
    assert (clock.state, clock.due.strict) == (ClockState.MISSED, yesterday)


@pytest.mark.parametrize("is_so", [True, False])
def test_obligation_without_test_cannot_be_judged_away(office: Office, is_so: bool) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    with pytest.raises(UsageError, match="contract-acme"):
        office.state(incident, FactKind.ANSWER, "contract-acme", is_so=is_so)
    with pytest.raises(UsageError, match="answer its legal test, without --threshold"):
        office.state(incident, FactKind.THRESHOLD, AUTHORITY, is_so=is_so)
    assert office.clock(incident, "contract-acme").state is ClockState.RUNNING


def test_an_exercise_reminds_nobody(office: Office) -> None:
    incident = office.open_incident(Mode.EXERCISE)
    office.state(incident, FactKind.TIME, "awareness")
    office.forward(days=9)
    assert office.watch() == []


def test_reminder_names_no_detail_of_the_incident(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness", reference="mr. quill opened it")
    office.watch()
    assert office.smtp.delivered
    for mail in office.smtp.delivered:
        assert "quill" not in mail.message.as_string()
        assert mail.recipients == ("lee@example.com",)


def test_people_are_not_notified_while_forbidden(office: Office) -> None:
    incident = office.open_incident()
    installation = office.installation

    def ask() -> None:
        facts = installation.ledger.facts.of_incident(incident)
        refuse_blocked(installation.config, incident, facts, installation.clock())

    with pytest.raises(Refused, match="Maryland AG") as refused:
        ask()
    lifts = f"`standfast deadline notified {incident} us-md-ag --receipt TEXT`, then `standfast "
    assert f"{lifts}incident retry {incident}`" in str(refused.value)
    office.state(incident, FactKind.NOTIFIED, "us-md-ag", reference="portal 12")
    ask()


def approve(installation: Installation, incident: str) -> None:
    decide(installation, incident, "people", "lee", PASSPHRASES["lee"])


def test_forbidden_notice_waits_and_staff_is_notified(office: Office) -> None:
    installation = office.installation
    (installation.config.folder / "playbooks").mkdir()
    (installation.config.folder / "playbooks/tell.yaml").write_text(TELLING)
    opened = open_incident(installation, "tell", {}, mode=Mode.LIVE, opened_by="dana").incident
    outcome = advance(installation, opened, "direct")
    states = {name: view.state for name, view in outcome.state.steps.items()}
    assert states == {"staff": StepState.DONE, "people": StepState.FAILED}
    assert "Maryland AG must be notified first" in step_reasons(installation, opened)["people"]
    assert len(office.smtp.delivered) == 3  # the staff
    office.state(opened, FactKind.NOTIFIED, "us-md-ag", reference="portal 12")
    retry(installation, opened, "people")
    approve(installation, opened)
    advance(installation, opened, "direct")
    assert len(office.smtp.delivered) == 3 + 20


def test_individual_notices_wait_while_forbidden(office: Office) -> None:
    installation = office.installation
    (installation.config.folder / "playbooks").mkdir()
    (installation.config.folder / "playbooks/tell.yaml").write_text(TELLING)
    opened = open_incident(installation, "tell", {}, mode=Mode.LIVE, opened_by="dana").incident
    office.state(opened, FactKind.NOTIFIED, "us-md-ag", reference="portal 12")
    advance(installation, opened, "direct")
    approve(installation, opened)
    advance(installation, opened, "direct")
    row = next(
        row for row in installation.ledger.effects.of_incident(opened) if row.step == "people"
    )
    lost = DeliveryEvent(token=row.token, state=DeliveryState.BOUNCED, at=installation.clock())
    installation.ledger.deliveries.store_reports([lost], "event", installation.clock())
    office.state(opened, FactKind.NOTIFIED, "us-md-ag", at=None, is_so=False, reference="a mistake")

    def tell() -> None:
        individual_notices.plan_individual_notice(
            installation, opened, row.token[:8], to=["a@example.net"], because="it bounced"
        )

    with pytest.raises(Refused, match="Maryland AG"):
        tell()
    office.state(opened, FactKind.NOTIFIED, "us-md-ag", reference="portal 13")
    tell()


def test_form_is_filled_and_marks_gaps(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    office.state(incident, FactKind.AFFECTED, "EU/EEA", count=1234)
    office.state(incident, FactKind.CONTENT, "what_happened", reference="A <laptop> was stolen.")
    form = filled_form(office.installation, incident, AUTHORITY)
    filled = {field.topic: field.text for field in form.fields if not field.is_gap}
    assert filled == {
        "what_happened": "A <laptop> was stolen.",
        "affected": "1,234 in EU/EEA",
        "contact": "Example Contact Centres, 020 7946 0000, the number on your card",
    }
    assert [field.topic for field in form.fields if field.is_gap] == [
        "data",
        "consequences",
        "measures",
    ]
    page = form_page(form, heading(office.installation), incident, office.now[0])
    assert page.count("MISSING:") == form.gaps == 3
    assert "A &lt;laptop&gt; was stolen." in page
    assert "Not sent" in page


def test_a_form_of_no_obligation_is_refused(office: Office) -> None:
    incident = office.open_incident()
    with pytest.raises(UsageError, match="not in this incident"):
        filled_form(office.installation, incident, "us-ca-ag")


def test_calendar_entries_keep_their_identity(office: Office) -> None:
    incident = office.open_incident()
    office.state(incident, FactKind.TIME, "awareness")
    text, count = due_calendar(office.installation, incident)
    events = Calendar.from_ical(text).walk("VEVENT")
    assert count == len(events) == 2
    by_id = {str(event["UID"]): event.decoded("DTSTART") for event in events}
    assert by_id[f"{AUTHORITY}@{incident}.standfast"] == NOW + timedelta(hours=72)
    office.forward(hours=1)
    office.state(incident, FactKind.TIME, "awareness")
    text, _ = due_calendar(office.installation, incident)
    moved = {str(event["UID"]) for event in Calendar.from_ical(text).walk("VEVENT")}
    assert moved == by_id.keys()


def test_unknown_jurisdiction_is_a_configuration_error(office: Office) -> None:
    config = office.installation.config
    wrong = config.model_copy(
        update={"deadlines": config.deadlines.model_copy(update={"jurisdictions": ("Atlantis",)})}
    )
    with pytest.raises(ConfigurationError, match="Atlantis"):
        reach(wrong)
