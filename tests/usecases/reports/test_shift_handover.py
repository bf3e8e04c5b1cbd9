"""Handover and draft review: complete at any moment, without names."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.adapters.senders.simulator import Answer
from standfast.deadlines.incident_facts import FactKind
from standfast.ledger.incidents.incident_facts import Statement
from standfast.records import EffectState, Limits, Mode
from standfast.usecases.approvals import step_decisions
from standfast.usecases.deadlines import legal_clocks
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.reports import shift_handover
from standfast.usecases.reports.result_pages import incident_report, write_incident_page
from tests.reports.build import Page
from tests.usecases.incidents.test_approval_escalation import newcomer
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import SimulatedInstallation, simulated_installation

DAYS = timedelta(days=10)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    """Live SQLite installation with simulators and one more person."""
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        newcomer(installation, "max", [])
        yield installation


def asking(installation: SimulatedInstallation) -> str:
    case = installation.run("account-takeover", ["agents:agent01"])
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    return case


def test_before_anything_happened_it_says_what_is_next(installation: SimulatedInstallation) -> None:
    case = installation.open("account-takeover")
    handed = shift_handover.hand_over(installation, case)
    assert {one.state for one in handed.open_steps} == {"not reached"}
    assert (handed.clocks, handed.unknowns) == ((), ())
    assert handed.people == ("dana",)
    assert shift_handover.after_action(installation, case).figures == ()


def test_handover_names_open_work_and_next_page(
    installation: SimulatedInstallation,
) -> None:
    case = asking(installation)
    handed = shift_handover.hand_over(installation, case)
    by_name = {one.step: one for one in handed.open_steps}
    assert by_name["tell_customers"].who == "duty-manager"
    assert by_name["clocks"].who == "legal or duty-manager", "who does it by hand"
    assert f"incident approve {case} tell_customers" in by_name["tell_customers"].what_to_do
    assert by_name["watch"].state == "prompted"
    assert "lock" not in by_name
    ends = {clock.event for clock in handed.clocks}
    assert any("the next people are paged" in what for what in ends)
    assert [clock.at for clock in handed.clocks] == sorted(clock.at for clock in handed.clocks)
    assert [one.action for one in handed.report.decisions] == ["answered yes to"]


def test_handover_states_whether_a_process_works(
    installation: SimulatedInstallation, tmp_path: Path
) -> None:
    case = asking(installation)
    handed = shift_handover.hand_over(installation, case)
    assert not handed.has_runner
    page = shift_handover.write_handover(handed, tmp_path / "handover.html").read_text()
    assert "No process works on this incident" in page
    assert "waits for a person" in page
    carried = replace(handed, has_runner=True)
    again = shift_handover.write_handover(carried, tmp_path / "handover.html").read_text()
    assert "No process works on" not in again


def test_both_pages_are_there_at_every_moment(
    installation: SimulatedInstallation, tmp_path: Path
) -> None:
    """Incidents: planned, open, stopped, asking, undoing, ended, closed."""
    written = 0

    def are_written(case: str, next_step: str) -> None:
        nonlocal written
        written += 1
        folder = tmp_path / f"moment-{written}"
        folder.mkdir()
        handed = shift_handover.hand_over(installation, case)
        assert next_step in handed.report.next_step
        page = shift_handover.write_handover(handed, folder / "handover.html").read_text()
        draft = shift_handover.write_after_action(
            shift_handover.after_action(installation, case), folder / "review.html"
        ).read_text()
        for html in (page, draft):
            assert case in Page(html).text
            assert "agent01" not in html

    are_written(installation.open("lock", mode=Mode.PLAN), "This is only a plan")
    case = installation.open("account-takeover")
    are_written(case, "has not started")
    lifecycle.stop(installation, case, by="dana")
    are_written(case, "Stopped")
    lifecycle.resume(installation, case, by="dana")
    installation.advance(case)
    are_written(case, "seen or changed customers' data")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    are_written(case, "waits for the approval")
    effect_undo.undo(installation, case, requested_by="dana")
    are_written(case, "waits for the approval")
    lifecycle.close(installation, case, by="dana")
    are_written(case, "the incident is closed")


def test_unknown_acts_are_named_and_masked(
    installation: SimulatedInstallation, tmp_path: Path
) -> None:
    installation.twins.mail.answer = lambda _message: Answer(
        state=EffectState.UNKNOWN, is_taken=True
    )
    installation.twins.mail.limits = Limits(batch=2, workers=1, timeout_seconds=600)
    case = installation.run("account-takeover", ["agents:agent01"])
    handed = shift_handover.hand_over(installation, case)
    unknown = [
        row.token[:8]
        for row in installation.ledger.effects.of_incident(case)
        if row.state is EffectState.UNKNOWN
    ]
    assert unknown
    assert sorted(one.effect for one in handed.unknowns) == sorted(unknown)
    html = shift_handover.write_handover(handed, tmp_path / "page.html").read_text()
    text = Page(html).text
    for token in unknown:
        assert token in text
    for personal in ("staff1@example.net", "agent01"):
        assert personal not in text
        assert personal not in json.dumps(handed.as_json())


def test_review_draft_states_durations_and_deviations(
    installation: SimulatedInstallation, tmp_path: Path
) -> None:
    case = asking(installation)
    later = replace(installation, clock=lambda: installation.clock() + timedelta(minutes=16))
    later.advance(case)
    step_decisions.decide(installation, case, "tell_customers", "lee", PASSPHRASES["lee"])
    installation.advance(case)
    lifecycle.close(installation, case, by="dana")
    draft = shift_handover.after_action(installation, case)
    measured = {figure.label for figure in draft.figures}
    assert {
        "from opening to the first lock",
        "from opening to the first proof (at least: sign-in refused)",
        "from opening to closing",
    } <= measured
    assert "1 time: nobody answered, and the next people were paged" in draft.otherwise
    assert any("is not finished" in line for line in draft.otherwise)
    html = shift_handover.write_after_action(draft, tmp_path / "draft.html").read_text()
    assert "Questions to discuss" in Page(html).text
    assert f":{draft.report.events[0].at:%S}</td>" in html, (
        "what follows within a minute is told apart"
    )
    assert shift_handover.hand_over(installation, case).open_steps == ()


def bound_by_law(
    installation: SimulatedInstallation, later: timedelta = timedelta(0)
) -> SimulatedInstallation:
    """Return the same installation in the EU, at a later time."""
    laws = installation.config.deadlines.model_copy(
        update={"jurisdictions": ("EU/EEA",), "parts": ("controller",), "authority_country": "DE"}
    )
    now = installation.clock() + later
    return replace(
        installation,
        config=installation.config.model_copy(update={"deadlines": laws}),
        clock=lambda: now,
    )


def test_missed_clocks_come_first_on_every_page(
    installation: SimulatedInstallation, tmp_path: Path
) -> None:
    case = asking(installation)
    begun = bound_by_law(installation)
    aware = Statement(kind=FactKind.TIME, name="awareness", at=begun.clock())
    assert legal_clocks.state_fact(begun, case, aware, "lee")
    for later, state, missed in ((timedelta(hours=1), "running", 0), (DAYS, "missed", 1)):
        there = bound_by_law(installation, later)
        owed = incident_report(there, case, must_verify=False).obligations
        assert owed is not None
        authority = next(line for line in owed.lines if "33(1)" in line.rule)
        assert (authority.state, owed.missed) == (state, missed)
        assert authority.due is not None
        assert (owed.next_due == authority.due) is (state == "running")
        assert owed.questions
        pages = (
            shift_handover.write_handover(shift_handover.hand_over(there, case), tmp_path / "a"),
            shift_handover.write_after_action(
                shift_handover.after_action(there, case), tmp_path / "b"
            ),
            write_incident_page(there, case, tmp_path / "c"),
        )
        for page in pages:
            html = page.read_text()
            text = Page(html).text
            assert authority.rule in text
            assert authority.due.isoformat(timespec="seconds") in html
            assert owed.questions[0] in text
            assert ("missed." in text) is (state == "missed")
    document = shift_handover.hand_over(there, case).as_json()["obligations"]
    assert isinstance(document, dict)
    assert document["missed"] == 1


def test_pages_without_laws_mention_none(
    installation: SimulatedInstallation,
) -> None:
    case = installation.open("account-takeover")
    assert shift_handover.hand_over(installation, case).report.obligations is None
    bound = bound_by_law(installation)
    plan = installation.open("account-takeover", mode=Mode.PLAN)
    assert shift_handover.hand_over(bound, plan).report.obligations is None
    owed = shift_handover.hand_over(bound, case).report.obligations
    assert owed is not None
    assert (owed.lines, owed.missed, owed.next_due) == ((), 0, None)
    assert owed.not_started
