"""People are notified of an overdue retention run, verification or drill."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from standfast.errors import ConfigurationError
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.maintenance_schedule import scheduled_tasks
from standfast.usecases.backups.verification import VAULT, verify
from standfast.usecases.core.run_record import recorded
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.service_drill import drill_services
from standfast.usecases.health.watchdog import keep_watch
from tests.servers.smtp import SmtpServer
from tests.usecases.alarmed import MAIL, Night, both
from tests.usecases.backup_installation import NOW, SERVICE, furnish, installation_at
from tests.usecases.installations import enrol_people

READS = '[backup]\nread_schedule = "0 7 * * *"\n'
DRILLS = '[drills]\nidentity = "file:offline/custodian.txt"\n'
KEEPS = '[backup.keeping]\nschedule = "0 6 * * *"\n'


@pytest.fixture
def night_with(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Callable[[str], Night]]:
    now = [NOW]
    with ExitStack() as ends:

        def give(more: str) -> Night:
            settings = SERVICE + MAIL.format(port=smtp_server.port) + more
            config_file = furnish(tmp_path, settings)
            installation = ends.enter_context(installation_at(config_file, clock=lambda: now[0]))
            enrol_people(installation, "dana", "lee")
            return Night(installation=installation, folder=tmp_path, smtp=smtp_server, now=now)

        yield give


def told(night: Night) -> list[tuple[str, bool]]:
    """Return the current notifications of a watch, without ages of points."""
    alarms = keep_watch(night.installation, "direct").notified
    return [(one.subject, one.is_raised) for one in alarms if "freshness" not in one.subject]


def test_late_verification_alarms_once(
    night_with: Callable[[str], Night],
) -> None:
    night = night_with("")
    verify(night.installation)
    night.forward(hours=48)
    assert told(night) == []
    night.forward(hours=2)
    assert told(night) == [("look", True)]
    assert told(night) == []
    assert night.mails == both("Backup alarm: vault")
    assert "last succeeded 50 hours ago; the limit is 49 hours" in night.newest_text
    (alarm,) = night.status().alarms
    assert alarm.kind == "look"
    verify(night.installation)
    assert told(night) == [("look", False)]
    assert night.status().alarms == ()


def test_never_started_run_is_late_since_creation(
    night_with: Callable[[str], Night],
) -> None:
    night = night_with(KEEPS + DRILLS)
    run_backup(night.installation, "main", "direct")
    night.forward(hours=50)
    assert told(night) == [("keep", True), ("look", True)]
    assert "has not succeeded once" in night.newest_text
    night.forward(days=13)
    assert told(night) == [("drill.main", True), ("drill.other", True)]
    with recorded(night.installation, "keep", VAULT, "direct") as run:
        run.ends("failed", {})
    assert told(night) == []
    with recorded(night.installation, "keep", VAULT, "direct") as run:
        run.ends("partial", {})
    run_drill(night.installation, "main", None)
    assert told(night) == [("keep", False), ("drill.main", False)]


def test_reading_counts_as_looking_not_reverse(
    night_with: Callable[[str], Night],
) -> None:
    night = night_with(READS)
    verify(night.installation)
    night.forward(hours=50)
    verify(night.installation)
    assert told(night) == [("read", True)]
    night.forward(hours=50)
    verify(night.installation, read=True)
    assert told(night) == [("read", False)]


def test_only_what_is_scheduled_here_can_be_late(night_with: Callable[[str], Night]) -> None:
    night = night_with("")
    assert [chore.kind for chore in scheduled_tasks(night.installation.config)] == ["look"]
    night.forward(days=30)
    assert told(night) == [("look", True)]


def test_each_set_is_drilled_weekly_without_a_schedule(night_with: Callable[[str], Night]) -> None:
    config = night_with(DRILLS).installation.config
    drills = [task for task in scheduled_tasks(config) if task.kind == "drill"]
    assert [(task.subject, task.schedule) for task in drills] == [
        ("main", "0 5 * * 0"),
        ("other", "0 5 * * 0"),
    ]


def test_schedule_names_all_drills(night_with: Callable[[str], Night]) -> None:
    schedule = '[drills.schedule]\nset.other = "0 6 * * *"\nservice.crm = "0 4 1 * *"\n'
    config = night_with(DRILLS + schedule).installation.config
    drills = [task for task in scheduled_tasks(config) if task.kind == "drill"]
    assert [(task.subject, task.schedule) for task in drills] == [
        ("other", "0 6 * * *"),
        ("service.crm", "0 4 1 * *"),
    ]


def test_late_drill_of_a_service_is_an_alarm(night_with: Callable[[str], Night]) -> None:
    schedule = '[drills.schedule]\nservice.crm = "0 4 * * *"\n'
    night = night_with(DRILLS + schedule)
    run_backup(night.installation, "main", "direct")
    night.forward(days=3)
    assert ("drill.service.crm", True) in told(night)
    drill_services(night.installation, ["crm"], None)
    assert ("drill.service.crm", False) in told(night)


def test_schedule_of_unknown_service_is_refused(night_with: Callable[[str], Night]) -> None:
    with pytest.raises(ConfigurationError):
        night_with(DRILLS + '[drills.schedule]\nservice.no-such = "0 4 * * *"\n')
