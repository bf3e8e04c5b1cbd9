"""A set that missed several nightly backups is backed up once."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule

from flows import standalone_backup
from flows.deployments import deployments, missed_backups
from standfast.config import load
from standfast.continuity.run_schedule import is_missed, last_due
from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import NIGHTLY_PAUSES, run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.health.watchdog import GRACE
from tests.usecases.backup_installation import (
    NOW,
    SERVICE,
    AwayStore,
    furnish,
    identity,
    installation_at,
)

pytestmark = pytest.mark.xdist_group("prefect")
DUE = NOW.replace(hour=2, minute=30)


def test_missed_backups_are_due_once(tmp_path: Path) -> None:
    now = [NOW]
    with installation_at(furnish(tmp_path), clock=lambda: now[0]) as installation:
        run_backup(installation, "main", "direct")
        assert missed_backups(installation) == {"other": DUE}
        now[0] += timedelta(days=9)
        assert missed_backups(installation) == {
            "main": DUE + timedelta(days=9),
            "other": DUE + timedelta(days=9),
        }
        run_backup(installation, "main", "direct")
        assert set(missed_backups(installation)) == {"other"}


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2027-03-27"),
        ("Europe/London", "2027-03-27"),
        ("America/New_York", "2027-03-13"),
        ("Australia/Lord_Howe", "2027-10-02"),  # by half an hour
        ("Europe/Berlin", "2027-10-30"),
        ("America/New_York", "2027-11-06"),
    ],
)
@pytest.mark.parametrize("cron", ["30 2 * * *", "59 2 * * *", "0 2 * * *", "15 * * * *"])
def test_clock_change_adds_and_loses_no_backup(cron: str, zone: str, day: str) -> None:
    """For a skipped time, Prefect and `last_due` differ less than the watch."""
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=1)
    end = begin + timedelta(days=4)
    schedule = CronSchedule(cron=cron, timezone=zone)
    runs = [run.astimezone(UTC) for run in asyncio.run(schedule.get_dates(99, begin, end))]
    if " 2 " in cron:
        days = [run.astimezone(ZoneInfo(zone)).date() for run in runs]
        assert len(set(days)) == len(days) >= 4
    for minutes in range(26 * 60, 4 * 24 * 60, 7):
        now = begin + timedelta(minutes=minutes)
        begun = max(run for run in runs if run <= now)
        assert not is_missed(last_due(cron, zone, now - GRACE), begun), now


def test_backup_without_prefect_waits_for_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(
        "standfast.usecases.backups.backup_run.writing_vault_of",
        lambda _: AwayStore(tmp_path / "vault"),
    )
    monkeypatch.setattr(standalone_backup, "run_backup", partial(run_backup, sleep=slept.append))
    config_file = furnish(tmp_path)
    pauses = [pause.total_seconds() for pause in NIGHTLY_PAUSES]
    AwayStore.refusals = len(pauses)
    assert standalone_backup.main(str(config_file), "main") == ExitStatus.DONE
    assert slept == pauses
    with installation_at(config_file) as installation:
        restore(installation, "latest", tmp_path / "out", identity(tmp_path))
    restored = tmp_path / "out" / "recordings" / "notes.txt"
    assert restored.read_text() == "the customer rang twice\n"


def scheduled(config_file: Path) -> dict[str, tuple[str, object]]:
    """The schedule of each verification, and whether it reads."""
    return {
        str(one.name): (str(one.schedules[0].schedule.cron), one.parameters["read"])  # type: ignore[union-attr]  # a cron, as written here
        for one in deployments(config_file, load(config_file))
        if one.flow_name == "daily-verification" and one.schedules
    }


def test_folder_is_verified_daily_and_read_on_request(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    assert scheduled(config_file) == {"host-1.look": ("30 6 * * *", False)}
    text = config_file.read_text()
    asked = 'verify_schedule = "15 7 * * *"\nread_schedule = "0 8 * * 6"'
    config_file.write_text(
        text.replace("[backup.sets.main]", f"[backup]\n{asked}\n[backup.sets.main]")
    )
    assert scheduled(config_file) == {
        "host-1.look": ("15 7 * * *", False),
        "host-1.read": ("0 8 * * 6", True),
    }


def test_bucket_is_verified_only_on_request(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    text = config_file.read_text()
    bucket = '[backup.s3]\nbucket = "vault"\naccess_key_id = "env:A"\nsecret_access_key = "env:B"\n'
    config_file.write_text(text.replace("[backup.sets.main]", f"{bucket}\n[backup.sets.main]"))
    assert scheduled(config_file) == {}


def test_surprise_drills_are_looked_for_often(tmp_path: Path) -> None:
    schedule = '[drills.schedule.surprise]\nbegins = "0 8 1 * *"\nhours = 100\n'
    config_file = furnish(
        tmp_path, SERVICE + '[drills]\nidentity = "file:offline/custodian.txt"\n' + schedule
    )
    (surprise,) = (
        one
        for one in deployments(config_file, load(config_file))
        if one.flow_name == "surprise-drill"
    )
    assert [str(one.schedule.cron) for one in surprise.schedules or ()] == ["*/15 * * * *"]  # type: ignore[union-attr]  # a cron
