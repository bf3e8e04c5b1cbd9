"""Runs of backups and drills; living and dead runners."""

import subprocess
import sys
from datetime import timedelta

from standfast.ledger import Ledger
from standfast.ledger.runs.run_store import LEASE, SERVE_LEASE
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW, Place
from tests.ledger.stage import open_incident, runner

_REGISTER = """
import sys
from datetime import datetime
from pathlib import Path
from standfast.ledger import open_ledger

url, keys, witness, incident, now = sys.argv[1:]
with open_ledger(url, Path(keys), Path(witness)) as ledger:
    print(ledger.runners.register(incident, "direct", datetime.fromisoformat(now)))
"""


def test_a_runner_whose_process_is_gone_is_dead(ledger: Ledger, place: Place) -> None:
    incident = open_incident(ledger)
    arguments = [place.url, str(place.keys), str(place.witness), incident, NOW.isoformat()]
    ended = subprocess.run(
        [sys.executable, "-c", _REGISTER, *arguments], check=True, capture_output=True, text=True
    )
    gone, here = ended.stdout.strip(), runner(ledger, incident)
    assert ledger.runners.is_dead(gone, NOW)
    assert not ledger.runners.is_dead(here, NOW)
    assert ledger.runners.live(incident, NOW) == [here]


def test_a_silent_runner_is_dead_after_its_lease(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    who = runner(ledger, incident)
    moment = timedelta(microseconds=1)
    assert not ledger.runners.is_dead(who, NOW + LEASE)
    assert ledger.runners.is_dead(who, NOW + LEASE + moment)
    ledger.runners.extend_lease(who, incident, NOW + LEASE)
    assert not ledger.runners.is_dead(who, NOW + 2 * LEASE)
    assert ledger.runners.is_dead(who, NOW + 2 * LEASE + moment)


def test_remote_runner_lives_by_its_lease(ledger: Ledger, intruder: Intruder) -> None:
    who = runner(ledger, open_incident(ledger))
    intruder.run("UPDATE runner SET host = 'elsewhere.invalid', pid = 1")
    assert not ledger.runners.is_dead(who, NOW)
    assert ledger.runners.is_dead(who, NOW + LEASE + LEASE.resolution)


def test_retired_or_unknown_runner_is_dead(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    who = runner(ledger, incident)
    ledger.runners.retire(who, incident, NOW)
    assert ledger.runners.is_dead(who, NOW)
    assert ledger.runners.is_dead("nobody", NOW)


def test_runners_are_counted_by_incident_and_servers_apart(ledger: Ledger) -> None:
    one, other = open_incident(ledger), open_incident(ledger)
    who = runner(ledger, one)
    server = ledger.runners.register(None, "serve", NOW)
    assert ledger.runners.live(one, NOW) == [who]
    assert ledger.runners.live(other, NOW) == []
    assert ledger.runners.live(None, NOW) == [server]
    assert ledger.runners.count_live(NOW) == 1
    runner(ledger, other)
    assert ledger.runners.count_live(NOW) == 2
    assert ledger.runners.count_live(NOW + LEASE + LEASE.resolution) == 0


def test_idle_serve_beats_less_often(ledger: Ledger) -> None:
    server = ledger.runners.register(None, "serve", NOW)
    assert ledger.runners.live(None, NOW + SERVE_LEASE) == [server]
    assert ledger.runners.live(None, NOW + SERVE_LEASE + SERVE_LEASE.resolution) == []
    assert SERVE_LEASE >= 10 * LEASE


def test_run_is_recorded_before_and_after(ledger: Ledger) -> None:
    token = ledger.runs.start("backup", "calls", "direct", "olga", NOW)
    (row,) = ledger.runs.all("backup")
    assert (row.id, row.subject, row.state, row.ended_at) == (token, "calls", "running", None)
    ended = NOW + timedelta(minutes=5)
    ledger.runs.finish(token, "backup", "partial", {"files": 3, "missed": 1}, "olga", ended)
    (row,) = ledger.runs.all("backup")
    assert (row.state, row.ended_at, row.summary) == ("partial", ended, {"files": 3, "missed": 1})
    assert [event.action for event in ledger.timeline(token)] == [
        "backup.started",
        "backup.partial",
    ]


def test_runs_are_returned_newest_first(ledger: Ledger) -> None:
    for minute, subject in enumerate(("calls", "mail", "calls")):
        ledger.runs.start("backup", subject, "direct", "olga", NOW + timedelta(minutes=minute))
    ledger.runs.start("drill", "calls", "direct", "olga", NOW)
    assert [row.subject for row in ledger.runs.all("backup")] == ["calls", "mail", "calls"]
    newest, oldest = ledger.runs.all("backup", "calls")
    assert newest.started_at > oldest.started_at
    assert len(ledger.runs.all("drill")) == 1


def test_repeated_note_keeps_the_last_text(ledger: Ledger) -> None:
    def note(state: str, **summary: str) -> None:
        ledger.runs.note("a" * 32, "alert", "leak", state, summary, "trigger:leak", NOW)

    note("failed", why="KeyError")
    note("failed", why="KeyError")
    (found,) = ledger.runs.all("alert")
    assert (found.id, found.subject, found.state) == ("a" * 32, "leak", "failed")
    assert found.ended_at == NOW
    note("done", why="mended")
    (found,) = ledger.runs.all("alert")
    assert (found.state, found.summary) == ("done", {"why": "mended"})
    assert [one.action for one in ledger.timeline("a" * 32)] == ["alert.failed", "alert.done"]
    assert ledger.audit.verify().is_whole
