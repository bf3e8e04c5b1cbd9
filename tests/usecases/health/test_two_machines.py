"""One backup host's name on two machines: their runs stay apart."""

import multiprocessing
import os
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from standfast.errors import ExitStatus
from standfast.usecases.alarms.notification import damage_alarm, notify
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.verification import verify
from standfast.usecases.core.run_record import DIED, mark_dead_runs_failed, recorded
from standfast.usecases.drills.drill_folders import destroy_leftovers
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.status import look
from standfast.usecases.health.watchdog import keep_watch
from standfast.usecases.key_ceremonies.owner_operations import (
    add_writer_as_owner,
    open_owner_session,
    open_stores,
)
from tests.backup.trees import describe
from tests.kill.tracing import in_own_process
from tests.usecases.backup_installation import furnish, identity
from tests.usecases.simulated_installations import BETA, at, machine, twins

Tree = dict[bytes, tuple[object, ...]]


def test_remote_run_is_not_dead(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    with at(one) as here, recorded(here, "backup", "main", "direct") as run:
        with at(other) as there:
            outcome = run_backup(there, "main", "direct")
            assert outcome.died_before == ()
            assert mark_dead_runs_failed(there, {}) == ()
        (row,) = here.ledger.runs.all("backup", states=["running"])
        assert (row.id, row.summary["machine"]) == (run.token, one.name)
        run.ends("done", {"files": 1})
    with at(one) as here:
        told = [event.action for event in here.ledger.timeline(run.token)]
    assert told == ["backup.started", "backup.done"]


def test_own_dead_run_is_found(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    with at(one) as here:
        run_backup(here, "main", "direct")
        origin = here.ledger.runs.all("backup")[0].summary
        with recorded(here, "backup", "main", "direct") as run:
            pass
        # As after a power cut.
        here.ledger.runs.finish(run.token, "backup", "running", origin, "os:test", here.clock())
    with at(other) as there:
        assert mark_dead_runs_failed(there, {}) == ()
    with at(one) as here:
        assert mark_dead_runs_failed(here, {}) == (("backup", "main"),)
        (row,) = (row for row in here.ledger.runs.all("backup") if row.id == run.token)
        assert (row.state, row.summary["problem"], row.summary["machine"]) == (
            "failed",
            DIED,
            one.name,
        )


def test_remote_drill_report_is_expected_there(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    with at(one) as here:
        run_backup(here, "main", "direct")
        mine = run_drill(here, "main", identity(one))
    with at(other) as there:
        run_drill(there, "main", identity(other))
        listed = list_drills(there)
    assert (len(listed.runs), listed.problems, listed.elsewhere) == (2, (), (one.name,))
    assert listed.exit_status is ExitStatus.DONE
    assert mine.report is not None
    mine.report.unlink()
    with at(one) as here:
        listed = list_drills(here)
    assert [one.problem for one in listed.problems] == ["its report is missing"]
    assert listed.elsewhere == (BETA,)


def test_drill_folder_of_another_machine_is_kept(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    shared = tmp_path / "drills"
    for folder in (one, other):
        with (folder / "standfast.toml").open("a") as file:
            file.write(f'\n[drills]\nfolder = "{shared}"\n')
    with at(one) as here:
        run_backup(here, "main", "direct")
    with at(one) as here, recorded(here, "drill", "main", "direct") as run:
        under_way = shared / f"main.{run.token}"
        under_way.mkdir(parents=True)
        left = shared / "main.0123"
        left.mkdir()
        with at(other) as there:
            assert run_drill(there, "main", identity(other)).exit_status is ExitStatus.DONE
            assert destroy_leftovers(there, "main") == 0
        assert (under_way.exists(), left.exists()) == (True, False)
        run.ends("failed", {})
    with at(one) as here:
        assert destroy_leftovers(here, "main") == 1
        assert list_drills(here).problems == ()


def test_cloned_machines_are_both_reported(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    with at(one) as here:
        assert run_backup(here, "main", "direct").cloned_host is None
    assert found(one) == [] == said(one)
    assert found(other) == [
        (Verdict.WARN, "until now host-1 backed up from another machine: alpha")
    ]
    with at(other) as there:
        first = run_backup(there, "main", "direct")
    # This machine may be a replacement of the other one, so the warning appears only once.
    assert first.cloned_host is not None
    assert (first.cloned_host.is_sure, first.exit_status) == (False, ExitStatus.DONE)
    assert found(other) == [] == said(other)
    sure = "host-1 also backs up from another machine: "
    assert found(one) == [(Verdict.FAIL, f"{sure}beta")]
    assert said(one) == [f"{sure}beta"]
    with at(one) as here:
        outcome = run_backup(here, "main", "direct")
        assert outcome.cloned_host is not None
        assert (outcome.cloned_host.machine, outcome.exit_status) == (BETA, ExitStatus.PARTIAL)
        again = run_backup(here, "main", "direct")
        assert (again.cloned_host, again.exit_status) == (None, ExitStatus.DONE)
    assert found(one) == [(Verdict.FAIL, f"{sure}beta")]
    assert found(other) == [(Verdict.FAIL, f"{sure}alpha")]
    assert said(other) == [f"{sure}alpha"]


def test_renamed_copy_is_no_longer_reported(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    for folder in (one, other, one):
        with at(folder) as installation:
            run_backup(installation, "main", "direct")
    part(one, other)
    with at(other) as there:
        outcome = run_backup(there, "main", "direct")
    assert (outcome.result.point, outcome.exit_status) == ("beta/0000000001", ExitStatus.DONE)
    assert found(one) == [] == found(other)
    for folder in (one, other):
        with at(folder) as installation:
            assert run_backup(installation, "main", "direct").cloned_host is None


def test_rolled_back_machine_is_reported(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "alpha", tmp_path / "beta"
    one.mkdir()
    furnish(one)
    with (one / "standfast.toml").open("a") as file:
        file.write(f'[backup]\nvault = "{one / "vault"}"\n')
    shutil.copytree(one, other, symlinks=True, ignore=shutil.ignore_patterns("vault"))
    for folder in (one, other, one):
        with at(folder) as installation:
            outcome = run_backup(installation, "main", "direct")
    assert (outcome.result.has_foreign_point, outcome.exit_status) == (True, ExitStatus.PARTIAL)
    ((verdict, words),) = found(one)
    assert verdict is Verdict.WARN
    assert "the vault had a point of host-1 that this machine had not made" in words
    with machine(one.name):
        seen = look(one / "standfast.toml", {}, datetime.now(UTC))
    assert seen.forked_at is not None


def test_clones_in_any_order_restore_each_point(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    expected: dict[str, Tree] = {}
    for folder in (one, other, other, one):
        expected.update(make_backups(folder, 1))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as both:
        for at_once in [both.submit(make_backups, folder, 2) for folder in (one, other)]:
            expected.update(at_once.result())
    assert len(expected) == 8
    with at(one) as here:
        report = verify(here, read=True, identity_file=identity(one))
        assert (report.exit_status, report.report.points) == (ExitStatus.DONE, len(expected))
        for point, tree in expected.items():
            to = tmp_path / "restored" / point.replace("/", "-")
            restore(here, point, to, identity(one))
            assert describe(to / "recordings") == tree, point


def make_backups(folder: Path, count: int) -> dict[str, Tree]:
    """Back up several times here; return each point and its content."""
    made: dict[str, Tree] = {}
    for _ in range(count):
        (folder / "recordings" / "notes.txt").write_bytes(os.urandom(20))
        with at(folder) as installation:
            made[run_backup(installation, "main", "direct").result.point] = describe(
                folder / "recordings"
            )
    return made


def found(folder: Path) -> list[tuple[Verdict, str]]:
    """Return the checks of this folder that report two machines of one name."""
    with machine(folder.name):
        report = check_installation(folder / "standfast.toml", env={})
    told = [one for one in report.checks if "machine" in one.found and one.part == "backup"]
    return [(one.verdict, one.found.partition(", last at")[0]) for one in told]


def said(folder: Path) -> list[str]:
    """Return what the status of a folder says of the two machines."""
    with machine(folder.name):
        clone = look(folder / "standfast.toml", {}, datetime.now(UTC)).cloned_host
    return [] if clone is None else [clone.sentence.partition(", last at")[0]]


def part(one: Path, other: Path) -> None:
    """Give the clone its own name and keys, as docs/roles.md says."""
    stores = open_stores(one / "standfast.toml", {})
    office = open_owner_session(stores, one / "offline" / "owner.key", lambda _: "")
    add_writer_as_owner(office, "beta", "main", one.parent / "new")
    (one.parent / "new" / "host.json").rename(other / "keys" / "backup-host" / "host.json")
    config = other / "standfast.toml"
    config.write_text(config.read_text().replace("[backup]\n", '[backup]\nwriter = "beta"\n'))


def test_alarm_of_the_other_machine_is_left(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    alarm = damage_alarm(is_damaged=True)
    with at(other) as there:
        assert notify(there, alarm, "serve")
        assert notify(there, damage_alarm(is_damaged=False), "serve")
    with at(one) as here, recorded(here, "alarm", "vault", "serve") as run:
        with at(other) as there:
            assert not notify(there, alarm, "serve")
            assert mark_dead_runs_failed(there, {}) == ()
        run.ends("raised", {"about": ""})
    with at(other) as there:
        assert not notify(there, alarm, "serve")
        states = [row.state for row in there.ledger.runs.all("alarm")]
    assert states == ["done", "raised", "over", "failed"]


def test_dead_drill_is_found_on_its_machine(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, other = twins(tmp_path, postgres_ledger_url)
    with at(one) as here:
        run_backup(here, "main", "direct")
    assert in_own_process(die_drilling, one) == -signal.SIGKILL
    (left,) = (one / "drills").iterdir()
    with at(other) as there:
        assert keep_watch(there, "serve").died == ()
        assert run_drill(there, "main", identity(other)).exit_status is ExitStatus.DONE
    assert left.exists()
    with at(one) as here:
        assert keep_watch(here, "serve").died == (("drill", "main"),)
        assert not left.exists()
        states = [run.state for run in list_drills(here).runs]
    assert states == ["done", "failed"]
    for folder in (one, other):
        with at(folder) as installation:
            assert list_drills(installation).problems == ()


def die_drilling(folder: Path) -> None:
    """Simulate a loss of power in the middle of a drill."""
    with at(folder) as installation, recorded(installation, "drill", "main", "direct") as run:
        (folder / "drills" / f"main.{run.token}").mkdir(parents=True)
        os.kill(os.getpid(), signal.SIGKILL)
