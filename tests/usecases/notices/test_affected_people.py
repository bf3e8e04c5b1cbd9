"""Affected people: listed, frozen, counted, notified once approved."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from standfast.deadlines.legal_clocks import ClockState
from standfast.errors import Damaged, Refused, UsageError
from standfast.ledger.database.connections import writing
from standfast.records import Mode, StepState
from standfast.reports.html_page import incident_page
from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.step_retry import retry
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import incident_clocks
from standfast.usecases.incidents.lifecycle import advance, close, open_incident
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.notices.affected_people import (
    Listing,
    add_affected,
    affected_report,
    listed_people,
)
from standfast.usecases.playbooks import library
from standfast.usecases.reports.result_pages import incident_report
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

PLAYBOOK = """\
playbook: leak
version: 1
title: Notify the affected people
use_when: Data of customers left the house.
steps:
  tell:
    title: Notify them
    do: notices.send
    with:
      template: customers-account-takeover
      audience: affected
      context:
        what_happened: account-takeover
    approval: {count: 1, roles: [duty-manager], reason: It cannot be called back.}
"""
SETTINGS = """
[playbooks]
folder = "playbooks"

[deadlines]
jurisdictions = ["US-CA"]
parts = ["controller"]
"""
PEOPLE = """\
email,name,place,exposed
ana@example.net,Ana,US-CA,name; iban
bob@example.net,Bob,US-CA,iban
,Without Address,US-CA,iban
cem@example.net,Cem,Atlantis,
ana@example.net,Ana,US-CA,name
"""


@pytest.fixture
def installation(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Installation]:
    config_file = furnish(tmp_path, smtp_port=smtp_server.port)
    config_file.write_text(config_file.read_text() + SETTINGS)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks/leak.yaml").write_text(PLAYBOOK)
    with installation_at(config_file) as opened:
        enrol_people(opened)
        yield opened


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(PEOPLE)
    return file


def opened(installation: Installation, mode: Mode = Mode.LIVE) -> str:
    return open_incident(installation, "leak", {}, mode=mode, opened_by="dana").incident


def told(smtp: SmtpServer) -> list[str]:
    """Return the affected people that were notified, in order."""
    everybody = [address for message in smtp.delivered for address in message.recipients]
    return [address for address in everybody if address.endswith("example.net")]


def approve(installation: Installation, incident: str, *names: str) -> None:
    for name in names or ("lee",):
        step_decisions.decide(installation, incident, "tell", name, PASSPHRASES[name])
    advance(installation, incident, "direct")


def test_listed_people_are_notified_once_approved(
    installation: Installation, people: Path, smtp_server: SmtpServer
) -> None:
    incident = opened(installation)
    add_affected(installation, incident, Listing(csv=people), by="lee")
    # The list is frozen, so the file changes nothing.
    people.write_text("email\nnobody@example.net\n")
    state = advance(installation, incident, "direct").state
    assert state.steps["tell"].state is StepState.ASKING
    assert told(smtp_server) == []
    approve(installation, incident)
    assert set(told(smtp_server)) == {"ana@example.net", "bob@example.net", "cem@example.net"}
    assert installation.ledger.audit.verify().is_whole


def test_notice_without_list_names_the_command(
    installation: Installation, people: Path, smtp_server: SmtpServer
) -> None:
    incident = opened(installation)
    view = advance(installation, incident, "direct").state.steps["tell"]
    assert view.state is StepState.FAILED
    steps = incident_report(installation, incident).steps
    assert f"standfast incident affected add {incident}" in steps[0].outcome
    add_affected(installation, incident, Listing(csv=people))
    retry(installation, incident, by="dana")
    advance(installation, incident, "direct")
    approve(installation, incident)
    assert len(told(smtp_server)) == 3


def test_later_list_needs_its_own_approval(
    installation: Installation, people: Path, tmp_path: Path, smtp_server: SmtpServer
) -> None:
    incident = opened(installation)
    add_affected(installation, incident, Listing(csv=people))
    advance(installation, incident, "direct")
    approve(installation, incident)
    (tmp_path / "more.csv").write_text("email\nana@example.net\ndee@example.net\n")
    added = add_affected(installation, incident, Listing(csv=tmp_path / "more.csv"))
    assert (added.listed and added.listed.people, added.repeated) == (1, 1)
    view = advance(installation, incident, "direct").state.steps["tell"]
    assert (view.state, view.round, len(told(smtp_server))) == (StepState.ASKING, 2, 3)
    approve(installation, incident, "lee", "kim")
    assert told(smtp_server)[3:] == ["dee@example.net"]


def test_numbers_count_everybody_and_feed_clocks(installation: Installation, people: Path) -> None:
    incident = opened(installation)
    added = add_affected(installation, incident, Listing(csv=people, exposed="name", place="US-CA"))
    report = added.report
    assert (report.people, report.cannot_be_notified) == (4, 1)
    assert report.fields == {"iban": 2, "name": 3}
    assert report.places == {"Atlantis": 1, "US-CA": 3}
    assert added.places_without_obligation == {"Atlantis": 1}
    states = {clock.obligation.id: clock.state for clock in incident_clocks(installation, incident)}
    # The notice is owed to the attorney general if more than 500 people are affected.
    assert states["us-ca-ag"] is ClockState.NOT_OWED


def test_notice_is_owed_above_its_number_of_people(
    installation: Installation, tmp_path: Path
) -> None:
    incident, file = opened(installation), tmp_path / "many.csv"

    def clock(first: int, count: int, place: str) -> ClockState:
        rows = "".join(f"p{n}@example.net\n" for n in range(first, first + count))
        file.write_text("email\n" + rows)
        add_affected(installation, incident, Listing(csv=file, exposed="iban", place=place))
        clocks = incident_clocks(installation, incident)
        return next(each.state for each in clocks if each.obligation.id == "us-ca-ag")

    assert clock(0, 500, "US-CA") is ClockState.NOT_OWED
    assert clock(500, 600, "US-MD") is ClockState.NOT_OWED
    assert clock(1_100, 1, "US-CA") is ClockState.NOT_STARTED  # owed once the people are notified


def test_report_has_numbers_and_seals(installation: Installation, people: Path) -> None:
    incident = opened(installation)
    added = add_affected(installation, incident, Listing(csv=people, exposed="=4111111111111111"))
    page = incident_page(incident_report(installation, incident))
    assert added.listed
    assert added.listed.digest in page
    assert "4 people; 1 cannot be notified" in page
    assert "place: Atlantis" in page
    assert "4111111111111111" not in page


def test_repeated_command_adds_nothing(installation: Installation, people: Path) -> None:
    incident = opened(installation)
    add_affected(installation, incident, Listing(csv=people))
    again = add_affected(installation, incident, Listing(csv=people))
    assert (again.listed, again.report.people) == (None, 4)
    replaced = add_affected(installation, incident, Listing(audience="customers", replaces=True))
    assert (replaced.report.people, len(replaced.report.lists)) == (20, 1)


def test_names_are_shown_and_the_view_recorded(installation: Installation, people: Path) -> None:
    incident = opened(installation)
    add_affected(installation, incident, Listing(csv=people), by="lee")
    names = listed_people(installation, incident)
    assert [(person.name, person.slots["exposed"]) for person in names] == [
        ("Ana", "iban, name"),
        ("Bob", "iban"),
        ("Cem", ""),
    ]
    assert [event.action for event in installation.ledger.timeline(incident)][-1] == (
        "affected.viewed"
    )


def test_changed_list_is_never_notified(
    installation: Installation, people: Path, smtp_server: SmtpServer
) -> None:
    incident = opened(installation)
    add_affected(installation, incident, Listing(csv=people))
    with writing(installation.ledger.engine) as connection:
        connection.execute(text("DELETE FROM affected_page"))
    with pytest.raises(Damaged):
        listed_people(installation, incident)
    assert advance(installation, incident, "direct").state.steps["tell"].state is StepState.FAILED
    assert told(smtp_server) == []


def test_unusable_sources_list_nobody(installation: Installation, tmp_path: Path) -> None:
    incident, played = opened(installation), opened(installation, Mode.EXERCISE)
    (tmp_path / "empty.csv").write_text("email\n")
    with pytest.raises(UsageError):
        add_affected(installation, incident, Listing(csv=tmp_path / "empty.csv"))
    many = "".join(f"p{n}@example.net,value {n}\n" for n in range(101))
    (tmp_path / "many.csv").write_text("email,exposed\n" + many)
    with pytest.raises(UsageError):
        add_affected(installation, incident, Listing(csv=tmp_path / "many.csv"))
    with pytest.raises(Refused):
        add_affected(installation, played, Listing(audience="customers"))
    close(installation, incident, by="dana")
    with pytest.raises(Refused):
        add_affected(installation, incident, Listing(csv=tmp_path / "many.csv"))
    assert affected_report(installation, incident).people == 0


def test_playbook_with_list_is_valid_and_planned(installation: Installation) -> None:
    playbook = library.find(installation.config, "leak")
    assert playbook.step("tell").arguments["audience"] == "affected"
    (step,) = plan_incident(installation, "leak", {}).steps
    assert (step.impossible, step.approvals) == ("", 2)
