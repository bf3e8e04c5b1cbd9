"""Enrolment: names are never reused; founders enrol during the set-up."""

from datetime import timedelta

import pytest

from standfast.errors import UsageError
from standfast.ledger import Ledger
from standfast.records import Mode
from tests.ledger.ledger_files import FOUNDED, NOW
from tests.ledger.stage import OWNER, enrol, open_incident


def test_a_person_is_restored_as_enrolled(ledger: Ledger) -> None:
    enrol(ledger, "ann", roles=["legal", "duty-manager"], accounts=["agents:ann"])
    ann = ledger.people.get("ann")
    assert (ann.full_name, ann.mail) == ("Ann Example", "ann@example.com")
    assert (ann.accounts, ann.roles) == (("agents:ann",), ("duty-manager", "legal"))
    assert (ann.enrolled_at, ann.enrolled_by, ann.is_removed) == (FOUNDED, "init", False)


def test_name_is_never_reused(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    ledger.people.remove("ann", OWNER, NOW)
    with pytest.raises(UsageError, match="was used before"):
        enrol(ledger, "ann")
    assert ledger.people.get("ann").is_removed


def test_people_are_found_by_any_of_their_roles(ledger: Ledger) -> None:
    enrol(ledger, "ann", roles=["legal", "duty-manager"])
    enrol(ledger, "ben", roles=["operator"])
    enrol(ledger, "gone", roles=["legal"])
    ledger.people.remove("gone", OWNER, NOW)
    assert [one.name for one in ledger.people.all()] == ["ann", "ben"]
    assert [one.name for one in ledger.people.all(["legal", "other"])] == ["ann"]
    assert ledger.people.all(["other"]) == []


def test_unknown_person_is_reported(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="'ann': not enrolled"):
        ledger.people.get("ann")
    with pytest.raises(UsageError, match="'ann': not enrolled"):
        ledger.people.remove("ann", OWNER, NOW)


def test_only_first_day_enrolments_are_founding(ledger: Ledger) -> None:
    enrol(ledger, "first", now=FOUNDED + timedelta(days=1))
    enrol(ledger, "later", now=FOUNDED + timedelta(days=1, microseconds=1))
    founding = [ledger.people.get(name).is_founding for name in ("first", "later")]
    assert founding == [True, False]


def test_first_live_incident_ends_the_set_up(ledger: Ledger) -> None:
    open_incident(ledger, mode=Mode.EXERCISE, now=FOUNDED)
    enrol(ledger, "ann")
    open_incident(ledger, mode=Mode.LIVE, now=FOUNDED)
    enrol(ledger, "ben")
    founding = [ledger.people.get(name).is_founding for name in ("ann", "ben")]
    assert founding == [True, False]
