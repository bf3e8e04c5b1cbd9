"""A staff list is imported as a whole; its repetition changes nothing."""

from dataclasses import replace
from datetime import timedelta

from standfast.ledger import Ledger
from standfast.ledger.people.staff_list import Member
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW

ALICE = Member(key="7", full_name="Alice Example", accounts=("agents:alice",), roles=("agent",))
BOB = Member(key="8", full_name="Bob Example", mail="bob@example.com", phone="020 7946 0001")


def test_repeated_list_changes_nothing(ledger: Ledger) -> None:
    changes = ledger.staff.replace_list("csv", [ALICE, BOB], "olga", NOW)
    assert (changes.added, changes.changed, changes.gone) == ((ALICE, BOB), (), ())
    before = ledger.timeline()
    again = ledger.staff.replace_list("csv", [BOB, ALICE], "olga", NOW)
    assert (again.added, again.changed, again.gone, again.unchanged) == ((), (), (), 2)
    assert ledger.timeline() == before
    assert [row.member for row in ledger.staff.all()] == [ALICE, BOB]
    assert before[-1].detail == {"source": "csv", "added": 2, "changed": 0, "gone": 0}
    assert ledger.audit.verify().is_whole


def test_comparison_changes_nothing(ledger: Ledger) -> None:
    ledger.staff.replace_list("csv", [ALICE, BOB], "olga", NOW)
    events = len(ledger.timeline())
    leaving = replace(ALICE, leaves_at=NOW)
    changes = ledger.staff.compare("csv", [leaving])
    assert (changes.changed, changes.gone) == (((ALICE, leaving),), (BOB,))
    assert len(ledger.timeline()) == events
    assert ledger.staff.replace_list("csv", [leaving], "olga", NOW) == changes
    alice, bob = ledger.staff.all()
    assert (alice.member.leaves_at, alice.gone_at, bob.gone_at) == (NOW, None, NOW)
    assert alice.has_left(NOW)
    assert not alice.has_left(NOW - timedelta(seconds=1))
    assert bob.has_left(NOW)


def test_returning_person_is_no_longer_gone(ledger: Ledger) -> None:
    ledger.staff.replace_list("csv", [ALICE], "olga", NOW)
    ledger.staff.replace_list("csv", [], "olga", NOW)
    assert ledger.staff.replace_list("csv", [], "olga", NOW).gone == ()  # a person leaves only once
    changes = ledger.staff.replace_list("csv", [ALICE], "olga", NOW)
    assert changes.changed == ((ALICE, ALICE),)
    assert [row.gone_at for row in ledger.staff.all()] == [None]


def test_two_lists_do_not_disturb_each_other(ledger: Ledger) -> None:
    ledger.staff.replace_list("csv", [ALICE], "olga", NOW)
    ledger.staff.replace_list("scim.agents", [BOB], "olga", NOW)
    ledger.staff.replace_list("csv", [], "olga", NOW)
    found = [(row.source, row.gone_at) for row in ledger.staff.all()]
    assert found == [("csv", NOW), ("scim.agents", None)]


def test_row_moved_to_another_person_is_detected(ledger: Ledger, intruder: Intruder) -> None:
    ledger.staff.replace_list("csv", [ALICE, BOB], "olga", NOW)
    intruder.run("UPDATE staff SET leaves_at = '2020-01-01T00:00:00.000000Z'")
    assert not ledger.audit.verify().is_whole
