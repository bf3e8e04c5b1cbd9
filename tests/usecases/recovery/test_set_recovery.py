"""Recoveries to real targets: old data are set aside and can be returned."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions, step_retry
from standfast.usecases.approvals.pending_requests import pending_requests
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckLevel, CheckResult, CheckState
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery import staged_restore
from standfast.usecases.recovery.directory_replay import ReplayedDirectories
from standfast.usecases.recovery.recovery_plan import plan_recovery
from standfast.usecases.recovery.recovery_status import recovery_status
from standfast.usecases.reports.timeline import event_lines
from tests.usecases.backup_installation import SERVICE, change, installation_at
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.recovery_installation import customers, opened, prepared, tree

NOTE = "ransom-note.txt"
SCRIPTS = """
[services.scripts]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1560
sets = ["other"]

[[services.scripts.checks]]
kind = "command"
command = ["test", "-f", "scripts/greeting.txt"]
"""
TWO_STEPS = """
playbook: two-steps
version: 1
title: Recover two services
use_when: In a test.
steps:
  crm:
    title: Recover the CRM
    do: service.recover
    with: {services: crm}
    undo: service.return
  scripts:
    title: Recover the scripts
    do: service.recover
    with: {services: scripts}
    undo: service.return
"""


def test_recovered_data_equals_the_backup(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome
        assert tree(live / "recordings") == tree(tmp_path / "recordings")
        assert customers(live / "crm.db") == customers(tmp_path / "crm.db")
        assert not (live / "crm.db-wal").exists()
        aside = live / f"recordings.before-{case}"
        assert (aside / NOTE).read_text() == "pay\n"
        assert (live / f"crm.db.before-{case}").read_bytes() == b"encrypted"
        assert (live / f"crm.db.before-{case}-wal").read_bytes() == b"old log"
        (status,) = recovery_status(installation, case).sets
        assert status.state == "done"
        assert list(status.clocks_ms.values()) == sorted(status.clocks_ms.values())
        (service,) = recovery_status(installation, case).services
        assert service.is_checked
        assert service.is_met


def test_timeline_has_rto_of_each_set(tmp_path: Path) -> None:
    with installation_at(prepared(tmp_path)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        lines = event_lines(outcome.state, installation.ledger.timeline(case))
        actions = [line.action for line in lines]
        assert any("recovered set main: RTO" in action for action in actions)
        (run,) = installation.ledger.runs.all("restore", "main")
        assert run.state == "done"
        assert run.summary["incident"] == case
        assert run.summary["rto_ms"] > 0


def test_check_of_no_service_measures_no_rto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = CheckResult(
        name="constraints of base/crm",
        service="",
        level=CheckLevel.STRUCTURE,
        state=CheckState.PASSED,
    )
    replayed = ReplayedDirectories(checks=[check])
    monkeypatch.setattr(staged_restore, "replayed_directories", lambda *_: nullcontext(replayed))
    unchecked = SERVICE.partition("[[services.crm.checks]]")[0]
    with installation_at(prepared(tmp_path, unchecked)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.DONE, outcome
        (status,) = recovery_status(installation, case).sets
        assert status.passed == {"": [check.name]}
        lines = event_lines(outcome.state, installation.ledger.timeline(case))
        assert any("recovered set main: RTO not measured" in line.action for line in lines)


def test_existing_data_needs_a_second_person(tmp_path: Path) -> None:
    with installation_at(prepared(tmp_path)) as installation:
        case = opened(installation)
        state = installation.ledger.incidents.state(case)
        assert state.steps["recover"].state is StepState.ASKING
        assert (tmp_path / "live" / "recordings" / NOTE).exists()
        assert lifecycle.advance(installation, case, "direct").unfinished == ("recover",)
        (request,) = pending_requests(installation, case, "lee")
        assert "host-1/0000000001" in request.details[0]
        assert f"recordings.before-{case}" in request.details[1]


def test_approval_shows_the_sets_of_its_step(tmp_path: Path) -> None:
    config_file = prepared(tmp_path, SERVICE + SCRIPTS)
    (tmp_path / "live" / "scripts").mkdir()
    (tmp_path / "live" / "scripts" / NOTE).write_text("pay\n")
    (tmp_path / "playbooks" / "two-steps.yaml").write_text(TWO_STEPS)
    with installation_at(config_file) as installation:
        case = opened(installation, "two-steps")
        shown = {
            request.step: [line.split()[1] for line in request.details if line.startswith("Set ")]
            for request in pending_requests(installation, case, "lee")
        }
    assert shown == {"crm": ["main"], "scripts": ["other"]}


def test_approval_names_an_incomplete_backup(tmp_path: Path) -> None:
    with installation_at(prepared(tmp_path)) as installation:
        (tmp_path / "crm.db").rename(tmp_path / "moved.db")
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.PARTIAL
        case = opened(installation)
        (request,) = pending_requests(installation, case, "lee")
        assert "INCOMPLETE" in request.details[1]


def test_empty_target_needs_no_second_person(tmp_path: Path) -> None:
    more = SERVICE.replace('sets = ["main"]', 'sets = ["other"]').replace(
        'kind = "sqlite"\npath = "crm/crm.db"\nminimum_rows = { customers = 10 }\n'
        'last_change = "SELECT max(changed_at) FROM customers"',
        'kind = "command"\ncommand = ["test", "-f", "scripts/greeting.txt"]',
    )
    with installation_at(prepared(tmp_path, more)) as installation:
        case = opened(installation)
        assert lifecycle.look(installation, case).exit_status is ExitStatus.DONE
        assert tree(tmp_path / "live" / "scripts") == tree(tmp_path / "scripts")


def test_undo_returns_the_data_of_before(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        plan = undo_approved(installation, case)
        assert plan.needs_approvals == 1
        lifecycle.advance(installation, case, "direct")
        assert (live / "recordings" / NOTE).read_text() == "pay\n"
        assert (live / "crm.db").read_bytes() == b"encrypted"
        assert (live / "crm.db-wal").read_bytes() == b"old log"
        recovered = tree(live / f"recordings.recovered-{case}")
        assert recovered == tree(tmp_path / "recordings")
        assert [status.state for status in recovery_status(installation, case).sets] == ["returned"]


def test_failed_check_replaces_nothing(tmp_path: Path) -> None:
    more = SERVICE.replace("customers = 10", "customers = 1000")
    with installation_at(prepared(tmp_path, more)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
        assert (tmp_path / "live" / "recordings" / NOTE).exists()
        assert (tmp_path / "live" / "crm.db").read_bytes() == b"encrypted"


def test_failed_rename_leaves_every_target_as_before(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        before = tree(live)
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        # An obstacle for the second target, after the first was replaced.
        obstacle = live / f"crm.db.before-{case}"
        obstacle.write_bytes(b"somebody's file")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.FAILED
        obstacle.unlink()
        at_targets = {name: data for name, data in tree(live).items() if ".restoring-" not in name}
        assert at_targets == before
        step_retry.retry(installation, case, "recover", by="dana")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
        assert tree(live / "recordings") == tree(tmp_path / "recordings")
        assert (live / f"crm.db.before-{case}").read_bytes() == b"encrypted"


def test_time_selects_the_point_before_it(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        before = tree(tmp_path / "recordings")
        until = installation.clock().isoformat()
        change(tmp_path)
        run_backup(installation, "main", "direct")
        case = opened(installation, point=until)
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        assert tree(live / "recordings") == before


def test_clean_point_has_no_indicator(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        before = tree(tmp_path / "recordings")
        (tmp_path / "recordings" / "note.txt").write_bytes(b"pay to wallet-4711")
        run_backup(installation, "main", "direct")
        case = opened(
            installation,
            "service-recovery",
            services="crm",
            point="clean",
            indicators="text:wallet-4711",
        )
        step_decisions.answer(installation, case, "stop_writers", "all stopped", by="dana")
        lifecycle.advance(installation, case, "direct")
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        assert tree(live / "recordings") == before
        (status,) = recovery_status(installation, case).sets
        assert status.plan is not None
        assert "is clean" in status.plan.evidence


def test_data_that_appeared_later_is_kept(tmp_path: Path) -> None:
    live = tmp_path / "live"
    config_file = prepared(tmp_path)
    for path in ("crm.db", "crm.db-wal"):
        (live / path).unlink()
    with installation_at(config_file) as installation:
        case = opened(installation)
        (live / "crm.db").write_bytes(b"a program was started again")
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
        assert (live / "crm.db").read_bytes() == b"a program was started again"


def test_stopped_recovery_replaces_nothing_until_resumed(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        lifecycle.stop(installation, case, by="dana")
        lifecycle.wait_until_still(installation, case)
        assert (live / "recordings" / NOTE).exists()
        lifecycle.resume(installation, case, by="dana")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
        assert tree(live / "recordings") == tree(tmp_path / "recordings")


def test_plan_shows_existing_data_and_changes_nothing(tmp_path: Path) -> None:
    live = tmp_path / "live"
    with installation_at(prepared(tmp_path)) as installation:
        before = tree(live)
        planned = plan_recovery(installation, "crm", "newest")
        assert planned.refused == {}
        found = {target.source: target.has_data for target in planned.sets["main"].targets}
        assert found == {"recordings": True, "crm": True}
        assert planned.sets["main"].targets[0].size_bytes == len("pay\n")
        assert tree(live) == before


@pytest.mark.parametrize("obstacle", ["link", "staging", "file"])
def test_target_that_cannot_be_renamed_is_refused(obstacle: str, tmp_path: Path) -> None:
    config_file, live = prepared(tmp_path), tmp_path / "live"
    match obstacle:
        case "link":
            (live / "recordings").rename(live / "elsewhere")
            (live / "recordings").symlink_to("elsewhere")
        case "staging":
            (live / "recordings.restoring-INCIDENT").mkdir()
        case _:
            (live / "recordings").rename(live / "elsewhere")
            (live / "recordings").write_text("a file")
    with installation_at(config_file) as installation:
        assert list(plan_recovery(installation, "crm", "newest").refused) == ["main"]


def test_exercise_of_a_recovery_touches_no_target(tmp_path: Path) -> None:
    with installation_at(prepared(tmp_path)) as installation:
        before = tree(tmp_path / "live")
        case = lifecycle.open_incident(
            installation, "bring-back", {}, mode=Mode.EXERCISE, opened_by="dana"
        ).incident
        lifecycle.advance(installation, case, "direct")
        approve_as(installation, case, "recover", "lee")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
        assert tree(tmp_path / "live") == before
        assert [status.state for status in recovery_status(installation, case).sets] == ["done"]


def test_log_without_base_is_refused_by_kind(tmp_path: Path) -> None:
    server = """
[[backup.sets.main.sources]]
kind = "postgresql_wal"
name = "server"
host = "/var/run/postgresql"
wal = "wal"
"""
    config_file = prepared(tmp_path)
    config_file.write_text(config_file.read_text() + server)
    with installation_at(config_file) as installation:
        assert "kind postgresql_wal" in plan_recovery(installation, "crm", "newest").refused["main"]
