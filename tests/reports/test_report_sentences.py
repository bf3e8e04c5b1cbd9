"""The sentences of a page."""

from dataclasses import replace
from datetime import timedelta

import pytest

from standfast.plurals import counted
from standfast.records import EffectState, Proof
from standfast.reports.html_page import incident_page
from standfast.reports.report_records import AccountLine, Decision, DrillLine, EvidenceLine, Measure
from standfast.reports.report_sentences import (
    contained_after,
    counts_words,
    duration,
    listed,
    opened_commands,
    recovery_answer,
    size,
    what_happened,
)
from tests.reports.build import OPENED, Page, at, empty, notice, step

_LOCKED = AccountLine(who="agents:a***", lock=EffectState.DONE, proof=Proof.READ_BACK)
_REFUSED = AccountLine(who="agents:b***", lock=EffectState.REFUSED)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.84, "0.8 s"),
        (9.99, "10.0 s"),
        (10, "10 s"),
        (59.7, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3725, "1 h 3 min"),
        (86_399, "24 h"),
        (86_400 * 2 + 4 * 3600, "2 d 4 h"),
        (-3, "-3.0 s"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1200, "1.2 kB"), (312_000_000, "312 MB")],
)
def test_a_size_is_in_decimal_units(count: int, text: str) -> None:
    assert size(count) == text


def test_nouns_follow_their_counts() -> None:
    assert (counted(1, "person", "people"), counted(2000, "person", "people")) == (
        "1 person",
        "2,000 people",
    )
    assert (listed([]), listed(["a"]), listed(["a", "b", "c"])) == ("", "a", "a, b and c")


def test_counts_name_only_the_states_that_have_any() -> None:
    counts = {EffectState.REFUSED: 13, EffectState.DONE: 487, EffectState.FAILED: 0}
    assert counts_words(counts) == "487 done, 13 refused"


def test_what_stands_between_backticks_is_a_command() -> None:
    assert opened_commands("type `a` now") == [(False, "type "), (True, "a"), (False, " now")]


def _told(**changes: object) -> str:
    return what_happened(empty(**changes), "Monday")


def test_paragraph_states_locked_and_unlocked() -> None:
    lock = step(ended_at=at(3))
    assert "All 2 accounts were locked within 3.0 s, each proven" in _told(
        accounts=(_LOCKED, _LOCKED), steps=(lock,)
    )
    assert "1 of 2 accounts was locked within 3.0 s, and proven" in _told(
        accounts=(_LOCKED, _REFUSED), steps=(lock,)
    )
    assert "The account was locked within 3.0 s, and proven" in _told(
        accounts=(_LOCKED,), steps=(lock,)
    )
    unproven = AccountLine(who="agents:c***", lock=EffectState.DONE)
    assert "1 of them proven" in _told(accounts=(_LOCKED, unproven), steps=(lock,))
    assert "was not proven" in _told(accounts=(unproven,), steps=(lock,))
    assert "0 of 1 account were locked" in _told(accounts=(_REFUSED,), steps=(lock,))


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (Proof.READ_BACK, "read back from the directory"),
        (Proof.CONNECTIONS_GONE, "no connection to the directory is open"),
        (Proof.SESSIONS_GONE, "the directory lists no session or token"),
        (Proof.REFUSED, "a sign-in was refused"),
    ],
)
def test_proven_lock_has_its_level_everywhere(proof: Proof, words: str) -> None:
    account = replace(_LOCKED, proof=proof)
    report = empty(accounts=(account, replace(_LOCKED, proof=Proof.REFUSED)))
    assert f"each proven ({words}" in what_happened(report, "Monday")
    text = Page(incident_page(report)).text
    assert f"proven locked; weakest proof: {words}" in text
    assert text.count(words) >= 3  # the paragraph, the figure, the line of the account


def test_paragraph_claims_no_time_during_a_lock() -> None:
    going_on = step(ended_at=None)
    assert contained_after(empty(steps=(going_on,))) is None
    assert "locked so far" in _told(accounts=(_LOCKED,), steps=(going_on,))


def test_paragraph_claims_no_full_notification_without_proof() -> None:
    assert "All 3 people of “customers” were notified." in _told(notices=(notice(),))
    short = notice(by_language={"en": {EffectState.DONE: 3, EffectState.UNKNOWN: 1}})
    assert "3 of 4 people of “customers” were notified; 1 unknown." in _told(notices=(short,))
    assert "was empty" in _told(notices=(notice(by_language={}),))


def test_uncopied_evidence_is_reported_as_uncopied() -> None:
    line = EvidenceLine(source="c", state=EffectState.FAILED, files=2, manifest="ab")
    text = _told(evidence=(line,))
    assert "2 log files from 1 source were frozen" in text
    assert "1 source of evidence was not copied" in text


def test_paragraph_names_evidence_decisions_undo_and_end() -> None:
    text = _told(
        evidence=(
            EvidenceLine(source="a", state=EffectState.DONE, files=3),
            EvidenceLine(source="b", state=EffectState.FAILED),
        ),
        decisions=(
            Decision(step="Tell", person="lee", action="approved", at=at(9)),
            Decision(step="Watch", person="dana", action="reported on", at=at(10)),
        ),
        accounts=(AccountLine(who="a", lock=EffectState.DONE, is_restored=True),),
        is_open=False,
        closed_at=at(3600),
    )
    assert "3 log files from 1 source were frozen" in text
    assert "1 source of evidence was not frozen" in text
    assert "lee approved “Tell”." in text
    assert "1 account was unlocked again." in text
    assert text.endswith("It was closed 1 h after it opened.")


def _drilled(**took: timedelta | None) -> DrillLine:
    measures = tuple(
        Measure(
            service=service,
            rto=rto,
            rto_promised=timedelta(hours=4),
            rpo=timedelta(hours=5),
            rpo_promised=timedelta(hours=4 if rto is None else 5),
        )
        for service, rto in took.items()
    )
    return DrillLine(
        at=OPENED, set_name="main", point="p", state="done", way="direct", measures=measures
    )


def test_newest_drill_decides_about_the_objectives() -> None:
    hour, late = timedelta(hours=1), timedelta(hours=6)
    drills = (_drilled(crm=hour), _drilled(crm=None, phones=late, gone=None))
    kept = recovery_answer(["crm"], drills)
    assert kept is not None
    assert kept.is_met
    assert "1 of 1 service" in kept.text
    short = recovery_answer(["crm", "phones", "web"], drills)
    assert short is not None
    assert not short.is_met
    assert "1 of 3 services" in short.text
    assert "missed: phones (RTO); never drilled: web" in short.text
    assert "missed: crm (RTO and RPO)" in str(recovery_answer(["crm"], drills[1:]))
    assert recovery_answer([], drills) is None


def test_unchecked_service_did_not_come_back_as_promised() -> None:
    hour = timedelta(hours=1)
    unchecked = _drilled(crm=None)
    unchecked = replace(
        unchecked, measures=(replace(_drilled(crm=hour).measures[0], rto=None, is_checked=False),)
    )
    alone = recovery_answer(["crm"], [unchecked])
    assert alone is not None
    assert not alone.is_met
    with_older = recovery_answer(["crm"], [unchecked, _drilled(crm=hour)])
    assert with_older is not None
    assert with_older.is_met
