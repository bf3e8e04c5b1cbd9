"""Freshness of backup sets, also after a clock was ahead."""

from datetime import timedelta

import pytest

from standfast.cli.backups.restore_summary import restore_summary_lines
from standfast.errors import ExitStatus, StandfastError
from standfast.usecases.alarms.recovery_point_age import freshness
from standfast.usecases.backups.backup_run import run_backup, set_age
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.outcomes import RestoreOutcome
from standfast.usecases.backups.verification import verify
from standfast.usecases.core.run_record import recorded
from standfast.usecases.health.watchdog import keep_watch
from tests.usecases.alarmed import Night, both
from tests.usecases.backup_installation import damage_a_pack, identity, installation_at


def test_set_older_than_rpo_alarms_once(
    night: Night,
) -> None:
    run_backup(night.installation, "main", "direct")
    assert keep_watch(night.installation, "direct").notified == ()
    night.forward(hours=23)
    assert keep_watch(night.installation, "direct").notified == ()
    night.forward(hours=2)  # the service's RPO is a day
    outcome = keep_watch(night.installation, "direct")
    assert outcome.stale == ("main",)
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert [alarm.subject for alarm in outcome.notified] == ["freshness.main"]
    assert night.mails == both("Backup alarm: main")
    assert "recovery point is 25 hours old; the limit is 24 hours" in night.newest_text
    for _ in range(3):
        night.forward(minutes=5)
        assert keep_watch(night.installation, "direct").notified == ()
    assert len(night.mails) == 2
    (alarm,) = night.status().alarms
    assert alarm.as_json()["what"] == "freshness"
    assert alarm.is_notified
    run_backup(night.installation, "main", "direct")
    outcome = keep_watch(night.installation, "direct")
    assert (outcome.stale, [alarm.is_raised for alarm in outcome.notified]) == ((), [False])
    assert night.mails == both("Backup alarm: main") + both("Backup alarm over: main")
    assert night.status().alarms == ()
    night.forward(hours=25)
    assert len(keep_watch(night.installation, "direct").notified) == 1
    assert len(night.mails) == 6


def test_partial_point_does_not_make_a_set_fresh(night: Night) -> None:
    run_backup(night.installation, "main", "direct")
    night.forward(hours=20)
    (night.folder / "crm.db").rename(night.folder / "gone.db")
    assert run_backup(night.installation, "main", "direct").exit_status is ExitStatus.PARTIAL
    night.forward(hours=6)
    fresh = freshness(night.installation, "main")
    assert (fresh.is_stale, fresh.age) == (True, timedelta(hours=26))
    assert fresh.as_json()["limit_seconds"] == 86400


def test_default_limit_is_two_intervals(night: Night) -> None:
    fresh = freshness(night.installation, "other")
    assert (fresh.limit, fresh.age, fresh.is_stale) == (timedelta(days=2), None, False)
    run_backup(night.installation, "other", "direct")
    night.forward(hours=47)
    assert not freshness(night.installation, "other").is_stale
    night.forward(hours=2)
    assert freshness(night.installation, "other").is_stale


def test_point_of_unmounted_disk_is_not_fresh(night: Night) -> None:
    run_backup(night.installation, "other", "direct")
    (night.folder / "scripts").rename(night.folder / "unmounted")
    (night.folder / "scripts").mkdir()
    for _ in range(2):
        night.forward(hours=25)
        assert run_backup(night.installation, "other", "direct").exit_status is ExitStatus.PARTIAL
    fresh = freshness(night.installation, "other")
    assert (fresh.is_stale, fresh.age) == (True, timedelta(hours=50))
    assert len(keep_watch(night.installation, "direct").notified) >= 1


def test_fast_clock_hides_no_missed_night(night: Night) -> None:
    night.forward(days=400)
    run_backup(night.installation, "main", "direct")
    night.forward(days=-400)
    run_backup(night.installation, "main", "direct")
    age = set_age(night.installation, "main")
    assert (age.good_at, age.is_missed) == (night.now[0], False)
    assert freshness(night.installation, "main").age == timedelta(0)
    night.forward(hours=25)
    assert freshness(night.installation, "main").is_stale
    assert set_age(night.installation, "main").is_missed
    assert [alarm.subject for alarm in keep_watch(night.installation, "direct").notified] == [
        "freshness.main"
    ]


def test_latest_of_a_fast_clock_warns(
    night: Night,
) -> None:
    def restored(point: str, to: str) -> RestoreOutcome:
        return restore(night.installation, point, night.folder / to, identity(night.folder))

    run_backup(night.installation, "main", "direct")
    assert not restored("latest", "right").is_dated_ahead
    night.forward(days=400)
    run_backup(night.installation, "main", "direct")
    night.forward(days=-400)
    outcome = restored("latest", "ahead")
    assert (outcome.point.sequence, outcome.exit_status) == (2, ExitStatus.DONE)
    assert outcome.as_json()["is_dated_ahead"]
    told = "\n".join(map(str, restore_summary_lines(outcome)))
    assert f"The recovery point has a future date, {outcome.point.time:%Y-%m-%d %H:%M} UTC" in told
    assert "`standfast backup list`" in told
    assert not restored("2", "named").is_dated_ahead


def test_alarm_from_a_fast_clock_ends_once(night: Night) -> None:
    run_backup(night.installation, "main", "direct")
    night.forward(days=400)
    assert keep_watch(night.installation, "direct").notified
    night.forward(days=-400)
    assert night.mails == both("Backup alarm: main")
    for _ in range(3):
        keep_watch(night.installation, "direct")
        night.forward(minutes=5)
    assert night.mails == both("Backup alarm: main") + both("Backup alarm over: main")
    assert night.status().alarms == ()


def test_fast_clock_run_hides_no_failure(night: Night) -> None:
    night.forward(days=400)
    run_backup(night.installation, "main", "direct")
    verify(night.installation, False)
    night.forward(days=-400)
    with pytest.raises(StandfastError), recorded(night.installation, "backup", "main", "direct"):
        raise StandfastError("the disk broke")
    (main,) = (one for one in night.status().sets if one.name == "main")
    assert (main.last_failed, main.last_backup) == (night.now[0], None)
    run_backup(night.installation, "main", "direct")
    night.forward(minutes=5)
    (main,) = (one for one in night.status().sets if one.name == "main")
    assert main.last_backup is not None
    assert main.last_backup.started_at == night.now[0] - timedelta(minutes=5)
    damage_a_pack(night.folder)
    verify(night.installation, True)
    assert night.status().verify_failed == night.now[0]


def test_fast_clock_check_clears_no_later_damage(night: Night) -> None:
    run_backup(night.installation, "main", "direct")
    night.forward(days=400)
    verify(night.installation, True)
    night.forward(days=-400)
    damage_a_pack(night.folder)
    assert verify(night.installation, True).exit_status is ExitStatus.DAMAGED
    assert verify(night.installation).open_damage is not None, "a look that cannot see it says so"
    assert "vault" in [alarm.shown for alarm in keep_watch(night.installation, "direct").notified]


def test_configured_age_takes_precedence_over_the_rpo(night: Night) -> None:
    config_file = night.folder / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(
        text.replace("[backup.sets.main]", "[backup.sets.main]\nmax_age_hours = 3")
    )
    with installation_at(config_file, clock=lambda: night.now[0]) as installation:
        assert freshness(installation, "main").limit == timedelta(hours=3)


def test_daytime_schedule_is_not_late_at_night(night: Night) -> None:
    config_file = night.folder / "standfast.toml"
    by_day = '[backup.sets.other]\nschedule = "0 8-18 * * *"'
    config_file.write_text(config_file.read_text().replace("[backup.sets.other]", by_day))
    with installation_at(config_file, clock=lambda: night.now[0]) as installation:
        night.forward(hours=15)  # 18:00
        run_backup(installation, "other", "direct")
        night.forward(hours=13)
        assert not freshness(installation, "other").is_stale
        night.forward(hours=1.5)
        assert not freshness(installation, "other").is_stale, (
            "one run that does not come is no alarm"
        )
        night.forward(hours=0.5)
        assert freshness(installation, "other").is_stale


def test_set_without_complete_point_alarms_from_first_try(
    night: Night,
) -> None:
    assert keep_watch(night.installation, "direct").notified == ()
    (night.folder / "crm.db").unlink()
    run_backup(night.installation, "main", "direct")
    night.forward(hours=25)
    assert len(keep_watch(night.installation, "direct").notified) == 1
    assert "There is no complete recovery point yet" in night.newest_text
