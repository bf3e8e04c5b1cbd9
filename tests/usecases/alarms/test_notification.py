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
from tests.usecases.alarmed import WatchedHost, both
from tests.usecases.backup_installation import damage_a_pack, furnish, identity, installation_at
from tests.usecases.installations import enrol_people


def test_damage_is_notified_once_and_once_when_over(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    damage_a_pack(host.folder)
    verify(host.installation, read=True)
    assert [alarm.subject for alarm in keep_watch(host.installation, "direct").notified] == [
        "vault"
    ]
    assert host.mails == both("Backup alarm: vault")
    assert "found damage" in host.newest_text
    host.forward(minutes=1)
    verify(host.installation)  # a verification without `read` cannot see the damage
    assert keep_watch(host.installation, "direct").notified == ()
    damage_a_pack(host.folder)  # flipping the same bit again repairs the pack
    host.forward(minutes=1)
    verify(host.installation, read=True)
    keep_watch(host.installation, "direct")
    assert host.mails[2:] == both("Backup alarm over: vault")


def test_rolled_back_store_ends_as_damage(host: WatchedHost, tmp_path: Path) -> None:
    shutil.copytree(host.folder / "vault", tmp_path / "earlier")
    run_backup(host.installation, "main", "direct")
    assert verify(host.installation).exit_status is ExitStatus.DONE
    shutil.rmtree(host.folder / "vault")
    shutil.copytree(tmp_path / "earlier", host.folder / "vault")
    host.forward(minutes=1)
    outcome = run_backup(host.installation, "main", "direct")
    assert (outcome.exit_status, outcome.result.complete) == (ExitStatus.DAMAGED, True)
    assert host.mails == both("Backup alarm: vault")
    assert "backup found damage in the vault" in host.newest_text
    assert keep_watch(host.installation, "direct").notified == (), "nobody has looked since"
    (alarm,) = host.status().alarms
    assert (alarm.command, alarm.set_name) == ("standfast backup verify --read", "")
    host.forward(minutes=1)
    assert verify(host.installation).exit_status is ExitStatus.DAMAGED
    assert keep_watch(host.installation, "direct").notified == ()
    restore(host.installation, "latest", tmp_path / "out", identity(host.folder))
    assert describe(tmp_path / "out/recordings/2026") == describe(host.folder / "recordings/2026")


def test_wrong_locks_are_notified_once_and_when_over(host: WatchedHost) -> None:
    def seen(*, wrong: int = 0, unknown: int = 0) -> list[str]:
        """Record a bucket verification; return the notifications of the watch."""
        host.forward(minutes=1)
        locks = {"wrong": wrong, "unknown": unknown, "is_right": not (wrong or unknown)}
        with recorded(host.installation, "verify", VAULT, "direct") as run:
            run.ends("done", {"saw": ["looking"], "found": [], "locks": locks})
        return [alarm.subject for alarm in keep_watch(host.installation, "direct").notified]

    run_backup(host.installation, "main", "direct")
    assert seen(unknown=3) == []
    assert seen(wrong=2) == ["locks"]
    assert host.mails == both("Backup alarm: vault")
    assert "without the required lock" in host.newest_text
    assert "found damage" not in host.newest_text
    (alarm,) = host.status().alarms
    assert "not locked" in alarm.sentence
    drilled = replace(host.status(), sets=())
    assert drilled.next_step == f"`standfast backup verify`: {alarm.sentence}."
    verify(host.installation)  # in a vault without locks, the result contains no fact about locks
    assert seen(unknown=3) == [], "unknown is neither wrong nor over"
    assert seen(wrong=1) == []
    assert seen() == ["locks"]
    assert host.mails[2:] == both("Backup alarm over: vault")
    assert host.status().alarms == ()


def rewrite(folder: Path) -> None:
    """Replace every file by incompressible content, as ransomware does."""
    for path in (folder / "recordings").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(os.urandom(400_000))


def quiet_runs(host: WatchedHost, count: int) -> None:
    for number in range(40):
        (host.folder / "recordings" / f"note-{number:02}.txt").write_text("quiet " * 60_000)
    for _ in range(count):
        host.forward(days=1)
        assert run_backup(host.installation, "main", "direct").jumps == ()


def test_fully_changed_backup_alarms_without_failing(host: WatchedHost) -> None:
    quiet_runs(host, 6)
    rewrite(host.folder)
    host.forward(days=1)
    outcome = run_backup(host.installation, "main", "direct")
    assert outcome.exit_status is ExitStatus.DONE
    assert {jump.measure for jump in outcome.jumps} == {"changed", "new content", "incompressible"}
    assert host.mails == both("Backup alarm: main")
    assert "0 % is usual" in host.newest_text
    shown = outcome.as_json()["jumps"]
    assert shown == json.loads(json.dumps(outcome.summary()["jumps"]))
    assert [
        one["what"] for one in host.installation.ledger.runs.all("backup")[0].summary["jumps"]
    ] == [jump.measure for jump in outcome.jumps]
    assert newest_jumps(host.installation, "main") == (outcome.run, outcome.jumps)
    keep_watch(host.installation, "direct")
    assert len(host.mails) == 2
    status = host.status()
    assert [alarm.kind for alarm in status.alarms] == ["jump"]
    assert "ask who changed the data" in status.next_step
    # The next quiet run does not end the alarm, and the status shows it for a week.
    host.forward(days=1)
    assert run_backup(host.installation, "main", "direct").jumps == ()
    keep_watch(host.installation, "direct")
    assert len(host.mails) == 2
    assert [alarm.kind for alarm in host.status().alarms] == ["jump"]
    host.forward(days=7)
    assert "jump" not in [alarm.kind for alarm in host.status().alarms]


@pytest.mark.parametrize(
    "removes_stored_files", [False, True], ids=["files", "a log that each base lets go"]
)
def test_lost_files_alarm_unless_the_set_sheds(
    host: WatchedHost, monkeypatch: pytest.MonkeyPatch, removes_stored_files: bool
) -> None:
    assert PostgresqlWalSource.is_self_pruning
    assert PostgresqlBaseSource.is_self_pruning
    monkeypatch.setattr(FilesSource, "is_self_pruning", removes_stored_files)
    quiet_runs(host, 6)
    for path in (host.folder / "recordings").glob("note-*.txt"):
        path.unlink()
    host.forward(days=1)
    outcome = run_backup(host.installation, "main", "direct")
    assert [jump.measure for jump in outcome.jumps] == ([] if removes_stored_files else ["gone"])
    assert host.mails == ([] if removes_stored_files else both("Backup alarm: main"))


def test_complete_upload_is_not_judged(host: WatchedHost) -> None:
    quiet_runs(host, 6)
    host.installation.config.backup.send_log.unlink()
    host.forward(days=1)
    outcome = run_backup(host.installation, "main", "direct")
    assert (outcome.jumps, outcome.is_incomparable) == ((), True)
    rewrite(host.folder)
    host.forward(days=1)
    after = run_backup(host.installation, "main", "direct")
    assert not after.is_incomparable
    assert "changed" in {jump.measure for jump in after.jumps}


def test_each_run_that_jumps_is_told(host: WatchedHost) -> None:
    quiet_runs(host, 6)
    for count in (1, 2):
        rewrite(host.folder)
        host.forward(days=1)
        assert run_backup(host.installation, "main", "direct").jumps
        assert len(host.mails) == 2 * count


def test_absent_mail_server_is_retried_by_the_watch(
    host: WatchedHost,
) -> None:
    quiet_runs(host, 6)
    rewrite(host.folder)
    host.smtp.answer_recipient("dana@example.com", "451 4.7.1 later")
    host.smtp.answer_recipient("lee@example.com", "451 4.7.1 later")
    host.forward(days=1)
    assert run_backup(host.installation, "main", "direct").exit_status is ExitStatus.DONE
    assert host.mails == []
    (alarm,) = host.status().alarms
    assert not alarm.is_notified
    host.smtp.answer_recipient("dana@example.com", "250 OK")
    assert keep_watch(host.installation, "direct").notified == ()
    host.forward(hours=1)
    assert [one.subject for one in keep_watch(host.installation, "direct").notified] == [
        "jump.main"
    ]
    assert host.mails == ["dana@example.com: Backup alarm: main"]
    (alarm,) = host.status().alarms
    assert alarm.is_notified


def newest_alarm(host: WatchedHost) -> tuple[str, dict[str, object]]:
    row = host.installation.ledger.runs.all("alarm")[0]
    origin = Origin.of(row.summary).as_json()
    assert {*origin} == {"host", "machine", "vault"}
    return row.state, {name: row.summary[name] for name in row.summary.keys() - origin}


def test_alarm_without_recipients_is_in_the_status(tmp_path: Path, smtp_server: SmtpServer) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        alone = WatchedHost(installation=installation, folder=tmp_path, smtp=smtp_server)
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
            WatchedHost(installation=installation, folder=tmp_path, smtp=smtp_server)
        )
        assert "no sender" in str(summary["problem"])


def test_only_named_roles_are_notified(host: WatchedHost) -> None:
    config_file = host.folder / "standfast.toml"
    roles = host.installation.ledger.people.get("lee").roles
    text = config_file.read_text()
    # The key belongs to [backup], the last table.
    config_file.write_text(f"{text}alarm_roles = {list(roles)}\n")
    assert not set(roles) & set(host.installation.ledger.people.get("dana").roles)
    with installation_at(config_file, clock=lambda: host.now[0]) as installation:
        notify(installation, damage_alarm(is_damaged=True), "direct")
    assert host.mails == ["lee@example.com: Backup alarm: vault"]


def test_alarm_claimed_by_another_watcher_is_left(host: WatchedHost) -> None:
    with recorded(host.installation, "alarm", "vault", "direct") as run:
        assert not notify(host.installation, damage_alarm(is_damaged=True), "direct")
        run.ends("raised", {"about": ""})
    assert not notify(host.installation, damage_alarm(is_damaged=True), "direct")
    assert host.mails == []


@pytest.mark.parametrize("is_first", [True, False])
def test_first_host_in_the_ledger_notifies(
    host: WatchedHost, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    """The lock of the notifying process is local to its machine."""
    installation = host.installation
    start, start_there = installation.runs.start, installation.ledger.runs.start

    def beside(*given: Any, **more: Any) -> str:
        ours = start(*given, **more) if is_first else ""
        start_there(
            "alarm", "vault", "serve", "os:test", installation.clock(), origin=Origin(host="host-2")
        )
        return ours or start(*given, **more)

    monkeypatch.setattr(installation.runs, "start", beside)
    assert notify(installation, damage_alarm(is_damaged=True), "direct") == is_first
    assert host.mails == (both("Backup alarm: vault") if is_first else [])


def test_notification_of_another_host_is_not_repeated(
    host: WatchedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, now = host.installation.ledger, host.now[0]
    other = ledger.runs.start(
        "alarm", "vault", "serve", "os:test", now, origin=Origin(host="host-2")
    )
    look = run_record.is_first

    def told_meanwhile(*given: Any) -> bool:
        ledger.runs.finish(other, "alarm", "raised", {"about": ""}, "os:test", now)
        return look(*given)

    monkeypatch.setattr(notification, "is_first", told_meanwhile)
    assert not notify(host.installation, damage_alarm(is_damaged=True), "direct")
    assert host.mails == []


def test_undelivered_alarm_survives_a_fast_clock(
    host: WatchedHost,
) -> None:
    host.smtp.answer_recipient("dana@example.com", "550 5.1.1 no such mailbox")
    host.smtp.answer_recipient("lee@example.com", "550 5.1.1 no such mailbox")
    host.forward(days=30)
    assert notify(host.installation, damage_alarm(is_damaged=True), "direct")
    host.forward(days=-30)
    host.smtp.answer_recipient("lee@example.com", "250 OK")
    assert notify(host.installation, damage_alarm(is_damaged=True), "direct")
    assert host.mails == ["lee@example.com: Backup alarm: vault"]


def test_alarm_of_a_dead_watcher_is_notified(host: WatchedHost) -> None:
    lock = host.installation.config.backup.send_log.parent / "alarm-vault.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    host.installation.ledger.runs.start("alarm", "vault", "direct", "os:test", host.now[0])
    assert mark_dead_runs_failed(host.installation, {}) == (("alarm", "vault"),)
    host.forward(hours=1)
    assert notify(host.installation, damage_alarm(is_damaged=True), "direct")
    assert host.mails == both("Backup alarm: vault")


def test_resolved_unnotified_alarm_is_not_notified(host: WatchedHost) -> None:
    assert not notify(host.installation, damage_alarm(is_damaged=False), "direct")
    assert host.installation.ledger.runs.all("alarm") == []


def test_the_ledger_holds_no_address(host: WatchedHost) -> None:
    found = (BackupAnomaly(measure="changed", permille=900, usual_permille=20),)
    assert notify(host.installation, anomaly_alarm("main", "run-1", found), "direct")
    state, summary = newest_alarm(host)
    assert (state, summary) == ("raised", {"about": "run-1", "people": 2, "done": 2})
    assert "90 % of the data changed; 2 % is usual" in host.newest_text
    assert "example.com" not in json.dumps([vars(event) for event in timeline(host)], default=str)


def timeline(host: WatchedHost) -> list[object]:
    return [
        event for event in host.installation.ledger.timeline() if event.action.startswith("alarm.")
    ]


def test_undeliverable_alarm_stops_no_other(
    host: WatchedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(installation: Installation, alarm: Alarm, way: str) -> bool:
        if alarm.subject == "freshness.main":
            raise StandfastError("the lock cannot be made")
        return notify(installation, alarm, way)

    for name in ("main", "other"):
        run_backup(host.installation, name, "direct")
    host.forward(days=3)
    monkeypatch.setattr("standfast.usecases.health.watchdog.notify", failing)
    outcome = keep_watch(host.installation, "direct")
    assert outcome.troubles == ("alarm freshness.main: the lock cannot be made",)
    assert [alarm.subject for alarm in outcome.notified] == ["freshness.other"]
