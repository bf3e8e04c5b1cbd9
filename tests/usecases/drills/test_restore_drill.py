"""Drills restore, check, measure, destroy and sign, on real data."""

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from backup.records import Progress
from standfast.cli.backups.drill import lines_of
from standfast.errors import (
    ConfigurationError,
    ExitStatus,
    Refused,
    StandfastError,
    UsageError,
)
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.run_record import recorded
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.restore_drill import COMPARISON, HASHES, run_drill
from standfast.usecases.health.watchdog import keep_watch
from standfast.usecases.reports.backup_and_drill_results import drill_lines
from tests.kill.tracing import in_own_process
from tests.usecases.backup_installation import (
    LAST_CHANGE,
    NOW,
    SERVICE,
    change,
    damage_a_pack,
    furnish,
    identity,
    installation_at,
)


def targets(folder: Path) -> list[str]:
    """Return the names of the folders that drills left behind."""
    return [path.name for path in (folder / "drills").iterdir() if path.name != "reports"]


def test_a_drill_restores_compares_measures_and_destroys(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        change(tmp_path)
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path), compares=True)
        assert outcome.exit_status is ExitStatus.DONE
        assert outcome.point.name == "host-1/0000000002"
        assert outcome.comparison is not None
        assert outcome.comparison.differences == ()
        assert (outcome.comparison.files, outcome.comparison.rows) == (4, 19)
        assert outcome.skipped == ()
        assert outcome.usable_at is not None
        assert outcome.rto_ms is not None
        assert outcome.rto_ms > 0
        assert outcome.target.is_gone
        assert targets(tmp_path) == []
        assert not outcome.target.folder.exists()
        assert installation.ledger.audit.verify().is_whole


def test_measures_are_recorded_as_whole_numbers(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path), way="serve")
        (row,) = installation.ledger.runs.all("drill", "main")
    assert (row.id, row.state, row.way) == (outcome.run, "done", "serve")
    assert row.summary["rto_ms"] == outcome.rto_ms
    assert row.summary["rpo_ms"] == outcome.rpo_ms
    assert row.summary["passed"] == [HASHES, "sqlite crm/crm.db"]
    assert row.summary["skipped"] == [COMPARISON]
    assert row.summary["report"] == outcome.report_digest


def test_rpo_is_measured_from_the_last_change(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path), clock=lambda: NOW) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.rpo_basis == "last_change"
    assert outcome.rpo_ms == (NOW - LAST_CHANGE) / timedelta(milliseconds=1)
    (service,) = outcome.services
    assert (service.rpo_actual_ms, service.rpo_promised_ms) == (outcome.rpo_ms, 93_600_000)
    assert service.is_met


def test_rpo_without_query_uses_the_backup_time(tmp_path: Path) -> None:
    now = [NOW]
    more = "\n".join(line for line in SERVICE.splitlines() if "last_change" not in line)
    with installation_at(furnish(tmp_path, more), clock=lambda: now[0]) as installation:
        run_backup(installation, "main", "direct")
        now[0] = NOW + timedelta(hours=2)
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.rpo_basis == "consistent_at"
    assert outcome.rpo_ms == 7_200_000
    assert outcome.services[0].rpo_basis == "consistent_at"


@pytest.mark.parametrize("has_query", [True, False])
def test_future_last_change_makes_rpo_unknown(tmp_path: Path, has_query: bool) -> None:
    now = [NOW]
    more = SERVICE
    if not has_query:
        more = "\n".join(line for line in SERVICE.splitlines() if "last_change" not in line)
    with installation_at(furnish(tmp_path, more), clock=lambda: now[0]) as installation:
        run_backup(installation, "main", "direct")
        now[0] = LAST_CHANGE - timedelta(days=1)  # the clock is corrected
        outcome = run_drill(installation, "main", identity(tmp_path))
        (row,) = installation.ledger.runs.all("drill", "main")
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert (outcome.rpo_ms, outcome.services[0].rpo_actual_ms) == (None, None)
    assert not outcome.services[0].is_rpo_met
    assert row.summary["rpo_ms"] is None
    assert sum("has a future date" in str(line) for line in lines_of(outcome)) == 1


def test_missed_objective_makes_a_drill_partial(tmp_path: Path) -> None:
    more = SERVICE.replace("rpo_minutes = 1560", "rpo_minutes = 60")
    with installation_at(furnish(tmp_path, more), clock=lambda: NOW) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.PARTIAL
    (service,) = outcome.services
    assert service.is_rto_met
    assert not service.is_rpo_met
    told = [str(line) for line in lines_of(outcome)]
    assert any("RTO met (" in line and "RPO MISSED (" in line for line in told)
    assert told[-1].startswith("Next: ")


def test_drill_longer_than_mtpd_reports_it(tmp_path: Path) -> None:
    hours = count()
    more = SERVICE.replace("rto_minutes = 60", "rto_minutes = 60\nmtpd_minutes = 90")
    with installation_at(
        furnish(tmp_path, more), clock=lambda: NOW + timedelta(hours=next(hours))
    ) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert outcome.services[0].is_beyond_mtpd
    told = [str(line) for line in lines_of(outcome)]
    assert any("RTO MISSED (" in line and "the MTPD of 1 h 30 min)" in line for line in told)
    assert outcome.report is not None
    assert '"is_beyond_mtpd":true' in outcome.report.read_text()


@pytest.mark.parametrize(
    ("change_sql", "reason"),
    [
        ("DELETE FROM customers WHERE id > 9", "9 rows, at least 10"),
        ("DROP TABLE customers", "table customers does not exist"),
        ("UPDATE customers SET changed_at = NULL", "last_change query returned no time"),
    ],
)
def test_a_database_that_lacks_something_fails_the_drill(
    tmp_path: Path, change_sql: str, reason: str
) -> None:
    more = SERVICE
    if "DROP" in change_sql:
        more = "\n".join(line for line in SERVICE.splitlines() if "last_change" not in line)
    with installation_at(furnish(tmp_path, more)) as installation:
        with closing(sqlite3.connect(tmp_path / "crm.db")) as crm, crm:
            crm.execute(change_sql)
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
        assert outcome.exit_status is ExitStatus.FAILED
        assert (outcome.usable_at, outcome.rto_ms) == (None, None)
        (failed,) = [check for check in outcome.checks if check.state is CheckState.FAILED]
        assert reason in failed.reason
        assert not outcome.services[0].is_rto_met
        assert installation.ledger.runs.all("drill")[0].state == "failed"
        assert targets(tmp_path) == []


def test_a_database_with_damage_inside_fails_the_drill(tmp_path: Path) -> None:
    config_file = furnish(tmp_path, SERVICE.replace("crm/crm.db", "recordings/old.db"))
    # The database is damaged before the backup, as by a failing disk, so the vault contains it
    # unchanged.
    content = bytearray((tmp_path / "crm.db").read_bytes())
    content[4104:4130] = b"\xff" * 26  # the part of the second page that locates its rows
    (tmp_path / "recordings" / "old.db").write_bytes(content)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.FAILED
    assert not outcome.is_damaged


def test_check_of_another_set_is_skipped(tmp_path: Path) -> None:
    more = SERVICE.replace('sets = ["main"]', 'sets = ["main", "other"]')
    with installation_at(furnish(tmp_path, more)) as installation:
        run_backup(installation, "other", "direct")
        outcome = run_drill(installation, "other", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.DONE
    assert outcome.skipped == ("crm: sqlite crm/crm.db", COMPARISON)


def test_unchecked_service_has_no_recovery_time(tmp_path: Path) -> None:
    more = SERVICE.partition("[[services.crm.checks]]")[0]
    with installation_at(furnish(tmp_path, more)) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    (service,) = outcome.services
    assert (outcome.rto_ms, outcome.usable_at, service.rto_actual_ms) == (None, None, None)
    assert (service.is_rto_met, service.is_rpo_met) == (False, True)
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert outcome.report is not None
    (judged,) = json.loads(outcome.report.read_text())["report"]["services"]
    assert judged["rto"] == "not measured"
    assert not any("RTO met" in str(line) for line in lines_of(outcome))


def test_unserved_set_has_no_recovery_time(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "other", "direct")
        outcome = run_drill(installation, "other", identity(tmp_path))
    assert (outcome.rto_ms, outcome.exit_status) == (None, ExitStatus.DONE)


def test_comparison_of_nothing_is_not_passed(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        (tmp_path / "scripts" / "greeting.txt").unlink()
        run_backup(installation, "other", "direct")
        outcome = run_drill(installation, "other", identity(tmp_path), compares=True)
        (row,) = installation.ledger.runs.all("drill")
    assert COMPARISON in row.summary["skipped"]
    assert COMPARISON not in row.summary["passed"]
    assert outcome.exit_status is ExitStatus.PARTIAL


def test_failed_drill_judges_every_service(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        for pack in (tmp_path / "vault/w/host-1/p").rglob("*/*"):
            pack.unlink()
        outcome = run_drill(installation, "main", identity(tmp_path))
        (line,) = drill_lines(installation)
    assert outcome.problem
    assert [(one.service, one.rto_actual_ms) for one in outcome.services] == [("crm", None)]
    assert [(one.service, one.rto, one.is_met) for one in line.measures] == [("crm", None, False)]


def test_drill_without_report_is_on_page(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        (tmp_path / "keys/store").rename(tmp_path / "keys/away")
        with pytest.raises(StandfastError):
            run_drill(installation, "main", identity(tmp_path))
        (line,) = drill_lines(installation)
    assert [(one.service, one.rto, one.is_met) for one in line.measures] == [("crm", None, False)]


def test_services_are_checked_in_recovery_order(tmp_path: Path) -> None:
    more = SERVICE.replace('sets = ["main"]', 'sets = ["main"]\ndepends_on = ["telephony"]')
    more += (
        '[services.telephony]\nowner = "Network"\nrto_minutes = 30\nrpo_minutes = 60\n'
        'sets = ["main"]\n'
    )
    with installation_at(furnish(tmp_path, more)) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert [service.service for service in outcome.services] == ["telephony", "crm"]


def test_cyclic_services_are_refused_before_restoring(tmp_path: Path) -> None:
    more = SERVICE.replace('sets = ["main"]', 'sets = ["main"]\ndepends_on = ["crm"]')
    with installation_at(furnish(tmp_path, more)) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(ConfigurationError, match="crm → crm"):
            run_drill(installation, "main", identity(tmp_path))
        assert installation.ledger.runs.all("drill") == []


def test_changed_source_shows_in_the_comparison(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        change(tmp_path)
        (tmp_path / "recordings" / "again.wav").chmod(0o600)
        outcome = run_drill(installation, "main", identity(tmp_path), compares=True)
    assert outcome.exit_status is ExitStatus.FAILED
    assert outcome.comparison is not None
    shown = "\n".join(outcome.comparison.differences)
    assert "recordings/2026/call-3.wav: was not restored" in shown
    assert "recordings/2026/call-2.wav: is not in the source" in shown
    assert "recordings/notes.txt: modified_ns, content differ" in shown
    assert "recordings/again.wav: mode differ" in shown
    assert "crm: the rows of table customers differ" in shown
    report = outcome.report.read_text() if outcome.report else ""
    assert "call-3" not in report


def test_damaged_vault_is_reported_and_target_removed(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        damage_a_pack(tmp_path)
        outcome = run_drill(installation, "main", identity(tmp_path))
        assert outcome.exit_status is ExitStatus.DAMAGED
        assert outcome.rto_ms is None
        assert not any(service.is_rto_met for service in outcome.services)
        assert outcome.report is not None
        assert json.loads(outcome.report.read_text())["report"]["is_damaged"] is True
        assert targets(tmp_path) == []
        (row,) = installation.ledger.runs.all("drill")
        assert (row.state, row.summary["is_damaged"]) == ("failed", True)


def test_a_vault_that_lost_a_pack_is_damaged(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        damage_a_pack(tmp_path).unlink()
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.DAMAGED


def test_wrong_identity_ends_without_a_report(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    furnish(tmp_path / "theirs")
    with installation_at(furnish(tmp_path / "ours")) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(UsageError, match="another repository"):
            run_drill(installation, "main", identity(tmp_path / "theirs"))
        assert not (tmp_path / "ours" / "drills" / "reports").exists()
        assert installation.ledger.runs.all("drill")[0].state == "failed"


def test_unattended_drill_uses_the_configured_identity(tmp_path: Path) -> None:
    more = SERVICE + '[drills]\nidentity = "file:offline/custodian.txt"\n'
    with installation_at(furnish(tmp_path, more)) as installation:
        run_backup(installation, "main", "direct")
        assert run_drill(installation, "main", None).exit_status is ExitStatus.DONE


def test_drill_without_identity_names_the_option(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(UsageError, match=r"--identity.*drills\.identity"):
            run_drill(installation, "main", None)


def test_kept_target_is_private_and_reported(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path), keep=True)
        assert outcome.exit_status is ExitStatus.DONE
        assert (outcome.target.folder / "tree" / "crm" / "crm.db").is_file()
        assert outcome.target.folder.stat().st_mode & 0o777 == 0o700
        assert outcome.report is not None
        report = json.loads(outcome.report.read_text())["report"]
        assert (report["target_is_kept"], report["target_is_gone"]) == (True, False)
        run_drill(installation, "main", identity(tmp_path))
        assert targets(tmp_path) == [outcome.target.folder.name]


def test_a_tree_without_write_permission_is_destroyed_too(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        (tmp_path / "recordings" / "2026").chmod(0o500)
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.target.is_gone
    assert targets(tmp_path) == []


def test_an_interrupted_drill_leaves_no_plain_text(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with pytest.raises(KeyboardInterrupt):
            run_drill(installation, "main", identity(tmp_path), progress=interrupt)
        assert installation.ledger.runs.all("drill")[0].state == "failed"
    assert targets(tmp_path) == []


@pytest.mark.sampled
@pytest.mark.parametrize("who", ["the next drill", "the watch"])
def test_remains_of_a_dead_drill_are_destroyed(tmp_path: Path, who: str) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
    assert in_own_process(_die, config_file) == -9
    assert len(targets(tmp_path)) == 1
    with installation_at(config_file) as installation:
        (row,) = installation.ledger.runs.all("drill")
        assert row.state == "running"
        if who == "the watch":
            assert keep_watch(installation, "direct").died == (("drill", "main"),)
        else:
            assert run_drill(installation, "main", identity(tmp_path)).died_before == (row.id,)
        assert {one.id: one.state for one in installation.ledger.runs.all("drill")}[
            row.id
        ] == "failed"
    assert targets(tmp_path) == []


def _die(config_file: Path) -> None:
    def kill(progress: Progress) -> None:
        os.kill(os.getpid(), 9)

    with installation_at(config_file) as installation:
        run_drill(installation, "main", identity(config_file.parent), progress=kill)


def test_second_drill_of_a_set_is_refused(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        with (
            recorded(installation, "drill", "main", "direct"),
            pytest.raises(Refused, match="drill of main: in progress"),
        ):
            run_drill(installation, "main", identity(tmp_path))


def test_an_incomplete_point_makes_the_drill_partial(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path, "")) as installation:
        (tmp_path / "crm.db").unlink()
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert not outcome.point.complete


def test_an_older_point_can_be_drilled(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        change(tmp_path)
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path), point="1")
    assert outcome.point.name == "host-1/0000000001"


def test_a_point_of_another_set_is_not_drilled(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "other", "direct")
        with pytest.raises(UsageError, match=r"'main'.*other"):
            run_drill(installation, "main", identity(tmp_path), point="1")


def test_reports_are_signed_and_chained(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        first = run_drill(installation, "main", identity(tmp_path))
        second = run_drill(installation, "main", identity(tmp_path))
        listed = list_drills(installation)
        assert listed.problems == ()
        assert [run.id for run in listed.runs] == [second.run, first.run]
    assert second.report is not None
    report = json.loads(second.report.read_text())["report"]
    assert (report["number"], report["previous"]) == (2, first.report_digest)
    assert "NIST SP 800-53 CP-4" in report["controls"]
    assert report["skipped"] == [COMPARISON]
    declared = datetime.fromisoformat(report["declared_at"])
    assert declared.tzinfo == UTC


@pytest.mark.parametrize("harm", ["change", "delete the first", "delete the last", "swap"])
def test_reports_that_were_tampered_with_are_named(tmp_path: Path, harm: str) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        reports = [run_drill(installation, "main", identity(tmp_path)).report for _ in range(3)]
        paths = [path for path in reports if path is not None]
        match harm:
            case "change":
                paths[1].write_bytes(paths[1].read_bytes().replace(b'"rto_ms":', b'"rto_ms":1'))
                named = {paths[1].name, paths[2].name}
            case "delete the first":
                run = paths[0].stem.partition("-")[2]
                paths[0].unlink()
                named = {paths[1].name, f"run {run}"}
            case "delete the last":
                run = paths[2].stem.partition("-")[2]
                paths[2].unlink()
                named = {f"run {run}"}
            case _:
                one, two = paths[0].read_bytes(), paths[1].read_bytes()
                paths[0].write_bytes(two)
                paths[1].write_bytes(one)
                named = {path.name for path in paths}
        listed = list_drills(installation)
        assert {problem.where for problem in listed.problems} == named
        assert listed.exit_status is ExitStatus.DAMAGED
