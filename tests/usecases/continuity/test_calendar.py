"""Calendar of practice: due dates, reminders by real mail, and escalation."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.config.loader import load
from standfast.errors import FileInvalid
from standfast.notices.localized_dates import long_date
from standfast.records import Mode
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.continuity.attestations import attest, withdraw
from standfast.usecases.continuity.calendar import CalendarEntry, calendar
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.recency_checks import CALENDAR, practice
from standfast.usecases.health.watchdog import keep_watch
from standfast.usecases.incidents.lifecycle import open_incident
from standfast.usecases.people.enrolment import person_signer
from tests.servers.smtp import SmtpServer
from tests.usecases.alarmed import WatchedHost, watched_host
from tests.usecases.backup_installation import NOW, identity
from tests.usecases.installations import PASSPHRASES

TRAINING = """
[continuity.calendar.phishing]
kind = "attestation"
subject = "training"
every_days = 90
owner = "person:dana"
escalates_to = "duty-manager"
escalates_after_days = 10
"""
OTHERS = """
[continuity.calendar.lock]
kind = "exercise"
subject = "lock"
every_days = 180
owner = "operator"

[continuity.calendar.restore]
kind = "drill"
subject = "main"
every_days = 30
owner = "person:kim"
"""
URL = "https://wiki.example.com/training"


@pytest.fixture
def planned(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[WatchedHost]:
    with watched_host(tmp_path, smtp_server, TRAINING + OTHERS) as opened:
        yield opened


def entry(host: WatchedHost, name: str) -> CalendarEntry:
    (found,) = (entry for entry in calendar(host.installation) if entry.name == name)
    return found


def subjects(host: WatchedHost, recipient: str) -> list[str]:
    return [mail for mail in host.mails if mail.startswith(recipient) and "phishing" in mail]


def test_overdue_entry_reaches_owner_then_next_person(planned: WatchedHost) -> None:
    dana = person_signer(planned.installation, "dana", PASSPHRASES["dana"])
    attest(planned.installation, "training", dana, url=URL)
    planned.forward(days=90)
    keep_watch(planned.installation, "direct")
    assert subjects(planned, "") == []
    planned.forward(days=1)
    for _ in range(2):
        keep_watch(planned.installation, "direct")
    due = long_date((NOW + timedelta(days=90)).date(), "en")
    assert subjects(planned, "") == [f"dana@example.com: Overdue: phishing, due on {due}"]
    planned.forward(days=10)
    keep_watch(planned.installation, "direct")
    assert subjects(planned, "lee") == [f"lee@example.com: Escalated: phishing, due on {due}"]
    alarms = {alarm.set_name for alarm in planned.status().alarms if alarm.kind == "practice"}
    assert "phishing" in alarms
    attest(planned.installation, "training", dana, url=URL)
    keep_watch(planned.installation, "direct")
    assert subjects(planned, "")[2:] == [
        "dana@example.com: Done: phishing",
        "lee@example.com: Done: phishing",
    ]


def test_removed_entry_ends_its_alarm(planned: WatchedHost) -> None:
    planned.forward(days=91)
    keep_watch(planned.installation, "direct")
    mails = len(planned.mails)
    continuity = planned.installation.config.continuity
    left = {name: entry for name, entry in continuity.calendar.items() if name != "phishing"}
    config = planned.installation.config.model_copy(
        update={"continuity": continuity.model_copy(update={"calendar": left})}
    )
    keep_watch(replace(planned.installation, config=config), "direct")
    practice = {alarm.set_name for alarm in planned.status().alarms if alarm.kind == "practice"}
    assert practice == {"restore"}
    assert len(planned.mails) == mails


def test_entry_is_due_when_its_attestation_ends(planned: WatchedHost) -> None:
    dana = person_signer(planned.installation, "dana", PASSPHRASES["dana"])
    never = entry(planned, "phishing")
    assert (never.last_done, never.is_overdue) == (None, False)
    attest(planned.installation, "training", dana, url=URL, valid_days=20)
    assert entry(planned, "phishing").due == (NOW + timedelta(days=20)).date()
    withdraw(planned.installation, "training", dana)
    assert entry(planned, "phishing").last_done is None


def test_drills_and_exercises_count_as_done(planned: WatchedHost) -> None:
    planned.forward(days=200)
    assert entry(planned, "lock").is_overdue
    assert entry(planned, "restore").is_overdue
    run_backup(planned.installation, "main", "direct")
    run_drill(planned.installation, "main", identity(planned.folder))
    open_incident(planned.installation, "lock", {"accounts": ["agents:ada"]}, mode=Mode.EXERCISE)
    today = planned.now[0].date()
    assert entry(planned, "restore").last_done == entry(planned, "lock").last_done == today
    assert entry(planned, "restore").due == today + timedelta(days=30)


def test_readiness_names_overdue_and_unowned_entries(planned: WatchedHost) -> None:
    found = [check for check in practice(planned.installation) if check.part == CALENDAR]
    assert [check.verdict for check in found] == [Verdict.WARN, Verdict.OK]
    assert "kim" in found[0].found  # kim owns an entry and is not enrolled
    planned.forward(days=31)
    found = [check for check in practice(planned.installation) if check.part == CALENDAR]
    assert "drill run main" in found[0].what_to_do


@pytest.mark.parametrize(
    ("kind", "subject"), [("attestation", "trainnig"), ("drill", "service.crn"), ("walk", "crm")]
)
def test_entry_with_unknown_subject_is_refused(tmp_path: Path, kind: str, subject: str) -> None:
    config_file = tmp_path / "standfast.toml"
    config_file.write_text(
        '[organisation]\nname = "A"\ncontact_line = "1"\n'
        + TRAINING.replace('"attestation"', f'"{kind}"').replace('"training"', f'"{subject}"')
    )
    with pytest.raises(FileInvalid):
        load(config_file)
