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
from tests.usecases.alarmed import WatchedHost, both
from tests.usecases.backup_installation import damage_a_pack, identity, installation_at


def test_set_older_than_rpo_alarms_once(
    host: WatchedHost,
) -> None:
    run_backup(host.installation, "main", "direct")
    assert keep_watch(host.installation, "direct").notified == ()
    host.forward(hours=23)
    assert keep_watch(host.installation, "direct").notified == ()
    host.forward(hours=2)  # the service's RPO is a day
    outcome = keep_watch(host.installation, "direct")
    assert outcome.stale == ("main",)
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert [alarm.subject for alarm in outcome.notified] == ["freshness.main"]
    assert host.mails == both("Backup alarm: main")
    assert "recovery point is 25 hours old; the limit is 24 hours" in host.newest_text
    for _ in range(3):
        host.forward(minutes=5)
        assert keep_watch(host.installation, "direct").notified == ()
    assert len(host.mails) == 2
    (alarm,) = host.status().alarms
    assert alarm.as_json()["what"] == "freshness"
    assert alarm.is_notified
    run_backup(host.installation, "main", "direct")
    outcome = keep_watch(host.installation, "direct")
    assert (outcome.stale, [alarm.is_raised for alarm in outcome.notified]) == ((), [False])
    assert host.mails == both("Backup alarm: main") + both("Backup alarm over: main")
    assert host.status().alarms == ()
    host.forward(hours=25)
    assert len(keep_watch(host.installation, "direct").notified) == 1
    assert len(host.mails) == 6


def test_partial_point_does_not_make_a_set_fresh(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    host.forward(hours=20)
    (host.folder / "crm.db").rename(host.folder / "gone.db")
    assert run_backup(host.installation, "main", "direct").exit_status is ExitStatus.PARTIAL
    host.forward(hours=6)
    fresh = freshness(host.installation, "main")
    assert (fresh.is_stale, fresh.age) == (True, timedelta(hours=26))
    assert fresh.as_json()["limit_seconds"] == 86400


def test_default_limit_is_two_intervals(host: WatchedHost) -> None:
    fresh = freshness(host.installation, "other")
    assert (fresh.limit, fresh.age, fresh.is_stale) == (timedelta(days=2), None, False)
    run_backup(host.installation, "other", "direct")
    host.forward(hours=47)
    assert not freshness(host.installation, "other").is_stale
    host.forward(hours=2)
    assert freshness(host.installation, "other").is_stale


def test_point_of_unmounted_disk_is_not_fresh(host: WatchedHost) -> None:
    run_backup(host.installation, "other", "direct")
    (host.folder / "scripts").rename(host.folder / "unmounted")
    (host.folder / "scripts").mkdir()
    for _ in range(2):
        host.forward(hours=25)
        assert run_backup(host.installation, "other", "direct").exit_status is ExitStatus.PARTIAL
    fresh = freshness(host.installation, "other")
    assert (fresh.is_stale, fresh.age) == (True, timedelta(hours=50))
    assert len(keep_watch(host.installation, "direct").notified) >= 1


def test_fast_clock_hides_no_missed_backup(host: WatchedHost) -> None:
    host.forward(days=400)
    run_backup(host.installation, "main", "direct")
    host.forward(days=-400)
    run_backup(host.installation, "main", "direct")
    age = set_age(host.installation, "main")
    assert (age.good_at, age.is_missed) == (host.now[0], False)
    assert freshness(host.installation, "main").age == timedelta(0)
    host.forward(hours=25)
    assert freshness(host.installation, "main").is_stale
    assert set_age(host.installation, "main").is_missed
    assert [alarm.subject for alarm in keep_watch(host.installation, "direct").notified] == [
        "freshness.main"
    ]


def test_latest_of_a_fast_clock_warns(
    host: WatchedHost,
) -> None:
    def restored(point: str, to: str) -> RestoreOutcome:
        return restore(host.installation, point, host.folder / to, identity(host.folder))

    run_backup(host.installation, "main", "direct")
    assert not restored("latest", "right").is_dated_ahead
    host.forward(days=400)
    run_backup(host.installation, "main", "direct")
    host.forward(days=-400)
    outcome = restored("latest", "ahead")
    assert (outcome.point.sequence, outcome.exit_status) == (2, ExitStatus.DONE)
    assert outcome.as_json()["is_dated_ahead"]
    told = "\n".join(map(str, restore_summary_lines(outcome)))
    assert f"The recovery point has a future date, {outcome.point.time:%Y-%m-%d %H:%M} UTC" in told
    assert "`standfast backup list`" in told
    assert not restored("2", "named").is_dated_ahead


def test_alarm_from_a_fast_clock_ends_once(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    host.forward(days=400)
    assert keep_watch(host.installation, "direct").notified
    host.forward(days=-400)
    assert host.mails == both("Backup alarm: main")
    for _ in range(3):
        keep_watch(host.installation, "direct")
        host.forward(minutes=5)
    assert host.mails == both("Backup alarm: main") + both("Backup alarm over: main")
    assert host.status().alarms == ()


def test_fast_clock_run_hides_no_failure(host: WatchedHost) -> None:
    host.forward(days=400)
    run_backup(host.installation, "main", "direct")
    verify(host.installation, False)
    host.forward(days=-400)
    with pytest.raises(StandfastError), recorded(host.installation, "backup", "main", "direct"):
        raise StandfastError("the disk broke")
    (main,) = (one for one in host.status().sets if one.name == "main")
    assert (main.last_failed, main.last_backup) == (host.now[0], None)
    run_backup(host.installation, "main", "direct")
    host.forward(minutes=5)
    (main,) = (one for one in host.status().sets if one.name == "main")
    assert main.last_backup is not None
    assert main.last_backup.started_at == host.now[0] - timedelta(minutes=5)
    damage_a_pack(host.folder)
    verify(host.installation, True)
    assert host.status().verify_failed == host.now[0]


def test_fast_clock_check_clears_no_later_damage(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    host.forward(days=400)
    verify(host.installation, True)
    host.forward(days=-400)
    damage_a_pack(host.folder)
    assert verify(host.installation, True).exit_status is ExitStatus.DAMAGED
    assert verify(host.installation).open_damage is not None, "a look that cannot see it says so"
    assert "vault" in [alarm.shown for alarm in keep_watch(host.installation, "direct").notified]


def test_configured_age_takes_precedence_over_the_rpo(host: WatchedHost) -> None:
    config_file = host.folder / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(
        text.replace("[backup.sets.main]", "[backup.sets.main]\nmax_age_hours = 3")
    )
    with installation_at(config_file, clock=lambda: host.now[0]) as installation:
        assert freshness(installation, "main").limit == timedelta(hours=3)


def test_daytime_schedule_is_not_late_at_night(host: WatchedHost) -> None:
    config_file = host.folder / "standfast.toml"
    by_day = '[backup.sets.other]\nschedule = "0 8-18 * * *"'
    config_file.write_text(config_file.read_text().replace("[backup.sets.other]", by_day))
    with installation_at(config_file, clock=lambda: host.now[0]) as installation:
        host.forward(hours=15)  # 18:00
        run_backup(installation, "other", "direct")
        host.forward(hours=13)
        assert not freshness(installation, "other").is_stale
        host.forward(hours=1.5)
        assert not freshness(installation, "other").is_stale, (
            "one run that does not come is no alarm"
        )
        host.forward(hours=0.5)
        assert freshness(installation, "other").is_stale


def test_set_without_complete_point_alarms_from_first_try(
    host: WatchedHost,
) -> None:
    assert keep_watch(host.installation, "direct").notified == ()
    (host.folder / "crm.db").unlink()
    run_backup(host.installation, "main", "direct")
    host.forward(hours=25)
    assert len(keep_watch(host.installation, "direct").notified) == 1
    assert "There is no complete recovery point yet" in host.newest_text
