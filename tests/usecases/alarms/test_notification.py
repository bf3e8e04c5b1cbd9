"""Notifications about a faulty backup: one at its start, one at its end."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup.sources.files.files_source import FilesSource
from backup.sources.postgresql.base_backup import PostgresqlBaseSource
from backup.sources.postgresql.wal_archive import PostgresqlWalSource
from standfast.continuity.backup_anomalies import BackupAnomaly
from standfast.errors import ExitStatus, StandfastError
from standfast.ledger.runs.run_record import Origin
from standfast.usecases.alarms import notification
from standfast.usecases.alarms.notification import Alarm, anomaly_alarm, damage_alarm, notify
from standfast.usecases.backups.backup_run import newest_jumps, run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.verification import VAULT, verify
from standfast.usecases.core import run_record
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import mark_dead_runs_failed, recorded
from standfast.usecases.health.watchdog import keep_watch
from tests.backup.trees import describe
from tests.servers.smtp import SmtpServer
from tests.usecases.alarmed import Night, both
from tests.usecases.backup_installation import damage_a_pack, furnish, identity, installation_at
from tests.usecases.installations import enrol_people


def test_damage_is_notified_once_and_once_when_over(night: Night) -> None:
    run_backup(night.installation, "main", "direct")
    damage_a_pack(night.folder)
    verify(night.installation, read=True)
    assert [alarm.subject for alarm in keep_watch(night.installation, "direct").notified] == [
        "vault"
    ]
    assert night.mails == both("Backup alarm: vault")
    assert "found damage" in night.newest_text
    night.forward(minutes=1)
    verify(night.installation)  # a verification without `read` cannot see the damage
    assert keep_watch(night.installation, "direct").notified == ()
    damage_a_pack(night.folder)  # flipping the same bit again repairs the pack
    night.forward(minutes=1)
    verify(night.installation, read=True)
    keep_watch(night.installation, "direct")
    assert night.mails[2:] == both("Backup alarm over: vault")


def test_rolled_back_store_ends_as_damage(night: Night, tmp_path: Path) -> None:
    shutil.copytree(night.folder / "vault", tmp_path / "earlier")
    run_backup(night.installation, "main", "direct")
    assert verify(night.installation).exit_status is ExitStatus.DONE
    shutil.rmtree(night.folder / "vault")
    shutil.copytree(tmp_path / "earlier", night.folder / "vault")
    night.forward(minutes=1)
    outcome = run_backup(night.installation, "main", "direct")
    assert (outcome.exit_status, outcome.result.complete) == (ExitStatus.DAMAGED, True)
    assert night.mails == both("Backup alarm: vault")
    assert "backup found damage in the vault" in night.newest_text
    assert keep_watch(night.installation, "direct").notified == (), "nobody has looked since"
    (alarm,) = night.status().alarms
    assert (alarm.command, alarm.set_name) == ("standfast backup verify --read", "")
    night.forward(minutes=1)
    assert verify(night.installation).exit_status is ExitStatus.DAMAGED
    assert keep_watch(night.installation, "direct").notified == ()
    restore(night.installation, "latest", tmp_path / "out", identity(night.folder))
    assert describe(tmp_path / "out/recordings/2026") == describe(night.folder / "recordings/2026")


def test_wrong_locks_are_notified_once_and_when_over(night: Night) -> None:
    def seen(*, wrong: int = 0, unknown: int = 0) -> list[str]:
        """Record a bucket verification; return the notifications of the watch."""
        night.forward(minutes=1)
        locks = {"wrong": wrong, "unknown": unknown, "is_right": not (wrong or unknown)}
        with recorded(night.installation, "verify", VAULT, "direct") as run:
            run.ends("done", {"saw": ["looking"], "found": [], "locks": locks})
        return [alarm.subject for alarm in keep_watch(night.installation, "direct").notified]

    run_backup(night.installation, "main", "direct")
    assert seen(unknown=3) == []
    assert seen(wrong=2) == ["locks"]
    assert night.mails == both("Backup alarm: vault")
    assert "without the required lock" in night.newest_text
    assert "found damage" not in night.newest_text
    (alarm,) = night.status().alarms
    assert "not locked" in alarm.sentence
    drilled = replace(night.status(), sets=())
    assert drilled.next_step == f"`standfast backup verify`: {alarm.sentence}."
    verify(night.installation)  # in a vault without locks, the result contains no fact about locks
    assert seen(unknown=3) == [], "unknown is neither wrong nor over"
    assert seen(wrong=1) == []
    assert seen() == ["locks"]
    assert night.mails[2:] == both("Backup alarm over: vault")
    assert night.status().alarms == ()


def rewrite(folder: Path) -> None:
    """Replace every file by incompressible content, as ransomware does."""
    for path in (folder / "recordings").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(os.urandom(400_000))


def quiet_nights(night: Night, count: int) -> None:
    for number in range(40):
        (night.folder / "recordings" / f"note-{number:02}.txt").write_text("quiet " * 60_000)
    for _ in range(count):
        night.forward(days=1)
        assert run_backup(night.installation, "main", "direct").jumps == ()


def test_fully_changed_night_alarms_without_failing(night: Night) -> None:
    quiet_nights(night, 6)
    rewrite(night.folder)
    night.forward(days=1)
    outcome = run_backup(night.installation, "main", "direct")
    assert outcome.exit_status is ExitStatus.DONE
    assert {jump.measure for jump in outcome.jumps} == {"changed", "new content", "incompressible"}
    assert night.mails == both("Backup alarm: main")
    assert "0 % is usual" in night.newest_text
    shown = outcome.as_json()["jumps"]
    assert shown == json.loads(json.dumps(outcome.summary()["jumps"]))
    assert [
        one["what"] for one in night.installation.ledger.runs.all("backup")[0].summary["jumps"]
    ] == [jump.measure for jump in outcome.jumps]
    assert newest_jumps(night.installation, "main") == (outcome.run, outcome.jumps)
    keep_watch(night.installation, "direct")
    assert len(night.mails) == 2
    status = night.status()
    assert [alarm.kind for alarm in status.alarms] == ["jump"]
    assert "ask who changed the data" in status.next_step
    # The next quiet night does not end the alarm, and the status shows it for a week.
    night.forward(days=1)
    assert run_backup(night.installation, "main", "direct").jumps == ()
    keep_watch(night.installation, "direct")
    assert len(night.mails) == 2
    assert [alarm.kind for alarm in night.status().alarms] == ["jump"]
    night.forward(days=7)
    assert "jump" not in [alarm.kind for alarm in night.status().alarms]


@pytest.mark.parametrize("sheds", [False, True], ids=["files", "a log that each base lets go"])
def test_lost_files_alarm_unless_the_set_sheds(
    night: Night, monkeypatch: pytest.MonkeyPatch, sheds: bool
) -> None:
    assert PostgresqlWalSource.is_self_pruning
    assert PostgresqlBaseSource.is_self_pruning
    monkeypatch.setattr(FilesSource, "is_self_pruning", sheds)
    quiet_nights(night, 6)
    for path in (night.folder / "recordings").glob("note-*.txt"):
        path.unlink()
    night.forward(days=1)
    outcome = run_backup(night.installation, "main", "direct")
    assert [jump.measure for jump in outcome.jumps] == ([] if sheds else ["gone"])
    assert night.mails == ([] if sheds else both("Backup alarm: main"))


def test_complete_upload_is_not_judged(night: Night) -> None:
    quiet_nights(night, 6)
    night.installation.config.backup.send_log.unlink()
    night.forward(days=1)
    outcome = run_backup(night.installation, "main", "direct")
    assert (outcome.jumps, outcome.is_incomparable) == ((), True)
    rewrite(night.folder)
    night.forward(days=1)
    after = run_backup(night.installation, "main", "direct")
    assert not after.is_incomparable
    assert "changed" in {jump.measure for jump in after.jumps}


def test_each_night_that_jumps_is_told(night: Night) -> None:
    quiet_nights(night, 6)
    for nights in (1, 2):
        rewrite(night.folder)
        night.forward(days=1)
        assert run_backup(night.installation, "main", "direct").jumps
        assert len(night.mails) == 2 * nights


def test_absent_mail_server_is_retried_by_the_watch(
    night: Night,
) -> None:
    quiet_nights(night, 6)
    rewrite(night.folder)
    night.smtp.answer_recipient("dana@example.com", "451 4.7.1 later")
    night.smtp.answer_recipient("lee@example.com", "451 4.7.1 later")
    night.forward(days=1)
    assert run_backup(night.installation, "main", "direct").exit_status is ExitStatus.DONE
    assert night.mails == []
    (alarm,) = night.status().alarms
    assert not alarm.is_notified
    night.smtp.answer_recipient("dana@example.com", "250 OK")
    assert keep_watch(night.installation, "direct").notified == ()
    night.forward(hours=1)
    assert [one.subject for one in keep_watch(night.installation, "direct").notified] == [
        "jump.main"
    ]
    assert night.mails == ["dana@example.com: Backup alarm: main"]
    (alarm,) = night.status().alarms
    assert alarm.is_notified


def newest_alarm(night: Night) -> tuple[str, dict[str, object]]:
    row = night.installation.ledger.runs.all("alarm")[0]
    origin = Origin.of(row.summary).as_json()
    assert {*origin} == {"host", "machine", "vault"}
    return row.state, {name: row.summary[name] for name in row.summary.keys() - origin}


def test_alarm_without_recipients_is_in_the_status(tmp_path: Path, smtp_server: SmtpServer) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        alone = Night(installation=installation, folder=tmp_path, smtp=smtp_server)
        assert notify(installation, damage_alarm(is_damaged=True), "direct")
        state, summary = newest_alarm(alone)
        assert state == "failed"
        assert "standfast people add" in str(summary["problem"])
        enrol_people(installation, "dana")
        assert not notify(installation, damage_alarm(is_damaged=True), "direct")
        alone.now[0] = installation.clock()
        assert [one.is_notified for one in alone.status().alarms] == [False]
        notify(installation, damage_alarm(is_damaged=False), "direct")
        assert newest_alarm(alone)[0] == "over"
        assert alone.status().alarms == ()


def test_missing_sender_is_recorded_with_the_alarm(tmp_path: Path, smtp_server: SmtpServer) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        enrol_people(installation, "dana")
        notify(installation, damage_alarm(is_damaged=True), "direct")
        _, summary = newest_alarm(
            Night(installation=installation, folder=tmp_path, smtp=smtp_server)
        )
        assert "no sender" in str(summary["problem"])


def test_only_named_roles_are_notified(night: Night) -> None:
    config_file = night.folder / "standfast.toml"
    roles = night.installation.ledger.people.get("lee").roles
    text = config_file.read_text()
    # The key belongs to [backup], the last table.
    config_file.write_text(f"{text}alarm_roles = {list(roles)}\n")
    assert not set(roles) & set(night.installation.ledger.people.get("dana").roles)
    with installation_at(config_file, clock=lambda: night.now[0]) as installation:
        notify(installation, damage_alarm(is_damaged=True), "direct")
    assert night.mails == ["lee@example.com: Backup alarm: vault"]


def test_alarm_claimed_by_another_watcher_is_left(night: Night) -> None:
    with recorded(night.installation, "alarm", "vault", "direct") as run:
        assert not notify(night.installation, damage_alarm(is_damaged=True), "direct")
        run.ends("raised", {"about": ""})
    assert not notify(night.installation, damage_alarm(is_damaged=True), "direct")
    assert night.mails == []


@pytest.mark.parametrize("is_first", [True, False])
def test_first_host_in_the_ledger_notifies(
    night: Night, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    """The lock of the notifying process is local to its machine."""
    installation = night.installation
    start, start_there = installation.runs.start, installation.ledger.runs.start

    def beside(*given: Any, **more: Any) -> str:
        ours = start(*given, **more) if is_first else ""
        start_there(
            "alarm", "vault", "serve", "os:test", installation.clock(), origin=Origin(host="host-2")
        )
        return ours or start(*given, **more)

    monkeypatch.setattr(installation.runs, "start", beside)
    assert notify(installation, damage_alarm(is_damaged=True), "direct") == is_first
    assert night.mails == (both("Backup alarm: vault") if is_first else [])


def test_notification_of_another_host_is_not_repeated(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, now = night.installation.ledger, night.now[0]
    other = ledger.runs.start(
        "alarm", "vault", "serve", "os:test", now, origin=Origin(host="host-2")
    )
    look = run_record.is_first

    def told_meanwhile(*given: Any) -> bool:
        ledger.runs.finish(other, "alarm", "raised", {"about": ""}, "os:test", now)
        return look(*given)

    monkeypatch.setattr(notification, "is_first", told_meanwhile)
    assert not notify(night.installation, damage_alarm(is_damaged=True), "direct")
    assert night.mails == []


def test_undelivered_alarm_survives_a_fast_clock(
    night: Night,
) -> None:
    night.smtp.answer_recipient("dana@example.com", "550 5.1.1 no such mailbox")
    night.smtp.answer_recipient("lee@example.com", "550 5.1.1 no such mailbox")
    night.forward(days=30)
    assert notify(night.installation, damage_alarm(is_damaged=True), "direct")
    night.forward(days=-30)
    night.smtp.answer_recipient("lee@example.com", "250 OK")
    assert notify(night.installation, damage_alarm(is_damaged=True), "direct")
    assert night.mails == ["lee@example.com: Backup alarm: vault"]


def test_alarm_of_a_dead_watcher_is_notified(night: Night) -> None:
    lock = night.installation.config.backup.send_log.parent / "alarm-vault.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    night.installation.ledger.runs.start("alarm", "vault", "direct", "os:test", night.now[0])
    assert mark_dead_runs_failed(night.installation, {}) == (("alarm", "vault"),)
    night.forward(hours=1)
    assert notify(night.installation, damage_alarm(is_damaged=True), "direct")
    assert night.mails == both("Backup alarm: vault")


def test_resolved_unnotified_alarm_is_not_notified(night: Night) -> None:
    assert not notify(night.installation, damage_alarm(is_damaged=False), "direct")
    assert night.installation.ledger.runs.all("alarm") == []


def test_the_ledger_holds_no_address(night: Night) -> None:
    found = (BackupAnomaly(measure="changed", permille=900, usual_permille=20),)
    assert notify(night.installation, anomaly_alarm("main", "run-1", found), "direct")
    state, summary = newest_alarm(night)
    assert (state, summary) == ("raised", {"about": "run-1", "people": 2, "done": 2})
    assert "90 % of the data changed; 2 % is usual" in night.newest_text
    assert "example.com" not in json.dumps([vars(event) for event in timeline(night)], default=str)


def timeline(night: Night) -> list[object]:
    return [
        event for event in night.installation.ledger.timeline() if event.action.startswith("alarm.")
    ]


def test_undeliverable_alarm_stops_no_other(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(installation: Installation, alarm: Alarm, way: str) -> bool:
        if alarm.subject == "freshness.main":
            raise StandfastError("the lock cannot be made")
        return notify(installation, alarm, way)

    for name in ("main", "other"):
        run_backup(night.installation, name, "direct")
    night.forward(days=3)
    monkeypatch.setattr("standfast.usecases.health.watchdog.notify", failing)
    outcome = keep_watch(night.installation, "direct")
    assert outcome.troubles == ("alarm freshness.main: the lock cannot be made",)
    assert [alarm.subject for alarm in outcome.notified] == ["freshness.other"]
