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
from tests.usecases.alarmed import MAIL, WatchedHost, both
from tests.usecases.backup_installation import NOW, SERVICE, furnish, installation_at
from tests.usecases.installations import enrol_people

READS = '[backup]\nread_schedule = "0 7 * * *"\n'
DRILLS = '[drills]\nidentity = "file:offline/custodian.txt"\n'
KEEPS = '[backup.keeping]\nschedule = "0 6 * * *"\n'


@pytest.fixture
def host_with(tmp_path: Path, smtp_server: SmtpServer) -> Iterator[Callable[[str], WatchedHost]]:
    now = [NOW]
    with ExitStack() as ends:

        def give(more: str) -> WatchedHost:
            settings = SERVICE + MAIL.format(port=smtp_server.port) + more
            config_file = furnish(tmp_path, settings)
            installation = ends.enter_context(installation_at(config_file, clock=lambda: now[0]))
            enrol_people(installation, "dana", "lee")
            return WatchedHost(
                installation=installation, folder=tmp_path, smtp=smtp_server, now=now
            )

        yield give


def told(host: WatchedHost) -> list[tuple[str, bool]]:
    """Return the current notifications of a watch, without ages of points."""
    alarms = keep_watch(host.installation, "direct").notified
    return [(one.subject, one.is_raised) for one in alarms if "freshness" not in one.subject]


def test_late_verification_alarms_once(
    host_with: Callable[[str], WatchedHost],
) -> None:
    host = host_with("")
    verify(host.installation)
    host.forward(hours=48)
    assert told(host) == []
    host.forward(hours=2)
    assert told(host) == [("look", True)]
    assert told(host) == []
    assert host.mails == both("Backup alarm: vault")
    assert "last succeeded 50 hours ago; the limit is 49 hours" in host.newest_text
    (alarm,) = host.status().alarms
    assert alarm.kind == "look"
    verify(host.installation)
    assert told(host) == [("look", False)]
    assert host.status().alarms == ()


def test_never_started_run_is_late_since_creation(
    host_with: Callable[[str], WatchedHost],
) -> None:
    host = host_with(KEEPS + DRILLS)
    run_backup(host.installation, "main", "direct")
    host.forward(hours=50)
    assert told(host) == [("keep", True), ("look", True)]
    assert "has not succeeded once" in host.newest_text
    host.forward(days=13)
    assert told(host) == [("drill.main", True), ("drill.other", True)]
    with recorded(host.installation, "keep", VAULT, "direct") as run:
        run.ends("failed", {})
    assert told(host) == []
    with recorded(host.installation, "keep", VAULT, "direct") as run:
        run.ends("partial", {})
    run_drill(host.installation, "main", None)
    assert told(host) == [("keep", False), ("drill.main", False)]


def test_reading_counts_as_looking_not_reverse(
    host_with: Callable[[str], WatchedHost],
) -> None:
    host = host_with(READS)
    verify(host.installation)
    host.forward(hours=50)
    verify(host.installation)
    assert told(host) == [("read", True)]
    host.forward(hours=50)
    verify(host.installation, read=True)
    assert told(host) == [("read", False)]


def test_only_what_is_scheduled_here_can_be_late(
    host_with: Callable[[str], WatchedHost],
) -> None:
    host = host_with("")
    assert [chore.kind for chore in scheduled_tasks(host.installation.config)] == ["look"]
    host.forward(days=30)
    assert told(host) == [("look", True)]


def test_each_set_is_drilled_weekly_without_a_schedule(
    host_with: Callable[[str], WatchedHost],
) -> None:
    config = host_with(DRILLS).installation.config
    drills = [task for task in scheduled_tasks(config) if task.kind == "drill"]
    assert [(task.subject, task.schedule) for task in drills] == [
        ("main", "0 5 * * 0"),
        ("other", "0 5 * * 0"),
    ]


def test_schedule_names_all_drills(host_with: Callable[[str], WatchedHost]) -> None:
    schedule = '[drills.schedule]\nset.other = "0 6 * * *"\nservice.crm = "0 4 1 * *"\n'
    config = host_with(DRILLS + schedule).installation.config
    drills = [task for task in scheduled_tasks(config) if task.kind == "drill"]
    assert [(task.subject, task.schedule) for task in drills] == [
        ("other", "0 6 * * *"),
        ("service.crm", "0 4 1 * *"),
    ]


def test_late_drill_of_a_service_is_an_alarm(
    host_with: Callable[[str], WatchedHost],
) -> None:
    schedule = '[drills.schedule]\nservice.crm = "0 4 * * *"\n'
    host = host_with(DRILLS + schedule)
    run_backup(host.installation, "main", "direct")
    host.forward(days=3)
    assert ("drill.service.crm", True) in told(host)
    drill_services(host.installation, ["crm"], None)
    assert ("drill.service.crm", False) in told(host)


def test_schedule_of_unknown_service_is_refused(
    host_with: Callable[[str], WatchedHost],
) -> None:
    with pytest.raises(ConfigurationError):
        host_with(DRILLS + '[drills.schedule]\nservice.no-such = "0 4 * * *"\n')
