"""An attacker replaces the ledger's database by an older copy.

The copy is complete, and every seal in it is the ledger's own. The witness is out of reach.
"""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.errors import Damaged
from standfast.ledger import Ledger
from tests.attacks.site import Site
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import REVOKE, begin, claim, drafts, enrol, open_incident, runner


def _rolled_back(place: Place) -> None:
    """Sign, copy, run an incident with a witness, restore the copy."""
    place.create()
    copy = place.file.with_suffix(".copy")
    with place.opened() as ledger:
        enrol(ledger, "ann")
        begin(ledger, open_incident(ledger), drafts(REVOKE, "alice"))
        ledger.audit.sign_head(NOW)
    shutil.copy(place.file, copy)
    with place.opened() as ledger:
        open_incident(ledger)
        ledger.audit.sign_head(NOW)
    shutil.copy(copy, place.file)


def test_rolled_back_ledger_signs_nothing(sqlite_place: Place) -> None:
    _rolled_back(sqlite_place)
    told = sqlite_place.witness.read_bytes()
    with sqlite_place.opened() as ledger, pytest.raises(Damaged):
        ledger.audit.sign_head(NOW + timedelta(hours=1))
    assert sqlite_place.witness.read_bytes() == told


def test_rolled_back_ledger_opens_no_incident(sqlite_place: Place) -> None:
    _rolled_back(sqlite_place)
    with sqlite_place.opened() as ledger:
        with pytest.raises(Damaged):
            open_incident(ledger)
        assert len(ledger.incidents.all()) == 1


def test_rolled_back_ledger_acts_on_nothing(sqlite_place: Place) -> None:
    _rolled_back(sqlite_place)
    with sqlite_place.opened() as ledger:
        (opened,) = ledger.incidents.all()
        with pytest.raises(Damaged):
            claim(ledger, opened.id, runner(ledger, opened.id))


def test_rollback_under_a_process_is_seen(ledger: Ledger, intruder: Intruder) -> None:
    """The witness lacks the newest events; the process has verified them."""
    opened = open_incident(ledger)
    begin(ledger, opened, drafts(REVOKE, "alice"))
    ledger.incidents.set_stopped(opened, True, "olga", NOW)
    who = runner(ledger, opened)
    newest = intruder.run("SELECT max(sequence) FROM audit_event")[0][0]
    ledger.incidents.set_stopped(opened, False, "olga", NOW)
    ledger.incidents.state(opened)
    intruder.run("DELETE FROM audit_event WHERE sequence > :newest", newest=newest)
    with pytest.raises(Damaged):
        claim(ledger, opened, who)


def test_refusal_reaches_the_witness_at_once(tmp_path: Path) -> None:
    """Otherwise an older copy of the ledger would let the step ask again."""
    site = Site(tmp_path, 9)
    copy = (tmp_path / "ledger.db").read_bytes()
    site.approve("isolate", approves=False)
    (tmp_path / "ledger.db").write_bytes(copy)
    with pytest.raises(Damaged):
        site.approve("isolate", "kim")


def test_number_of_a_lost_incident_is_not_reused(sqlite_place: Place) -> None:
    """Only an old copy is left, and a person has moved the witness away."""
    _rolled_back(sqlite_place)
    sqlite_place.witness.rename(sqlite_place.witness.with_suffix(".aside"))
    with sqlite_place.opened() as ledger:
        assert open_incident(ledger) == "inc-2026-0003"
        ledger.audit.sign_head(NOW)
        assert ledger.audit.verify().is_whole
