"""The watchdog resumes, ends or reports interrupted work."""

from datetime import timedelta
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, Unavailable
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import mark_dead_runs_failed, recorded
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.watchdog import keep_watch, needs_runner
from standfast.usecases.incidents import lifecycle
from tests.flows.installations import furnish_with_incidents, is_over, open_exercise, ways
from tests.usecases.backup_installation import NOW, furnish, installation_at


def test_abandoned_incident_is_continued(tmp_path: Path) -> None:
    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        case = open_exercise(installation)
        outcome = keep_watch(installation, "direct")
        assert outcome.resumed == (case,)
        assert is_over(installation, case)
        assert ways(installation, case) == ["direct"]
        assert keep_watch(installation, "direct").resumed == ()


def test_incident_with_live_runner_is_left(tmp_path: Path) -> None:
    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        case = open_exercise(installation)
        assert needs_runner(installation, case)
        runner = installation.ledger.runners.register(case, "direct", installation.clock())
        assert keep_watch(installation, "direct").resumed == ()
        installation.ledger.runners.retire(runner, case, installation.clock())
        assert keep_watch(installation, "direct").resumed == (case,)


def test_a_stopped_or_closed_incident_is_left_alone(tmp_path: Path) -> None:
    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        stopped, closed = open_exercise(installation), open_exercise(installation, "agents:agent02")
        lifecycle.stop(installation, stopped, by="dana")
        lifecycle.close(installation, closed, by="dana")
        assert keep_watch(installation, "direct").resumed == ()


def test_failing_incident_stops_no_other(tmp_path: Path) -> None:
    def fail_for_the_first(installation: Installation, incident_id: str, way: str) -> None:
        if incident_id == first:
            raise Unavailable("the directory is gone")
        if incident_id == second:
            raise KeyError("agent01@example.com")

    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        first, second, third = (open_exercise(installation) for _ in range(3))
        outcome = keep_watch(installation, "direct", fail_for_the_first)
    assert outcome.resumed == (third,)
    assert outcome.troubles == (
        f"{first}: the directory is gone",
        f"{second}: unexpected KeyError",
    )
    assert outcome.exit_status is ExitStatus.PARTIAL


def test_missed_backup_is_named_after_an_hour(tmp_path: Path) -> None:
    now = [NOW]
    with installation_at(furnish(tmp_path), clock=lambda: now[0]) as installation:
        run_backup(installation, "main", "direct")
        run_backup(installation, "other", "direct")
        quiet = keep_watch(installation, "direct")
        assert (quiet.missed, quiet.exit_status) == ((), ExitStatus.DONE)
        now[0] = NOW + timedelta(days=1)  # 03:00; the backup was due at 02:30
        assert keep_watch(installation, "direct").missed == ()
        now[0] += timedelta(minutes=31)
        late = keep_watch(installation, "direct")
        assert late.missed == ("main", "other")
        assert late.sets[0].age_seconds == 86400 + 31 * 60
        assert late.exit_status is ExitStatus.PARTIAL


def test_run_in_progress_is_not_marked_failed(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        with recorded(installation, "backup", "main", "direct") as run:
            assert keep_watch(installation, "direct").died == ()
            run.ends("done", {})
        assert installation.ledger.runs.all("backup")[0].state == "done"


def test_a_run_of_another_host_is_not_judged(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        installation.ledger.runs.start(
            "backup", "main", "prefect", "os:other", installation.clock()
        )
        assert mark_dead_runs_failed(installation, {}) == ()
        assert installation.ledger.runs.all("backup")[0].state == "running"


def of_a_second_host(config_file: Path) -> Path:
    """Configure a second host with the same ledger, vault and sets."""
    other = config_file.with_name("other.toml")
    host = '\n[backup]\nwriter = "host-2"\nsend_log = "state-2/send-log.db"\n'
    other.write_text(config_file.read_text() + host)
    return other


@pytest.mark.parametrize("kind", ["verify", "keep", "alarm", "backup"])
def test_run_on_another_host_is_alive(tmp_path: Path, kind: str) -> None:
    config_file = furnish(tmp_path)
    with (
        installation_at(config_file) as installation,
        installation_at(of_a_second_host(config_file)) as other,
    ):
        with recorded(other, kind, "vault", "direct") as earlier:
            earlier.ends("done", {})
        with recorded(installation, kind, "vault", "direct") as run:
            assert keep_watch(other, "direct").died == ()
            with recorded(other, kind, "vault", "direct") as beside:
                assert beside.died_before == ()
                beside.ends("done", {})
            states = {row.id: row.state for row in installation.ledger.runs.all(kind)}
            assert states[run.token] == "running"
            run.ends("done", {})


def test_set_backed_up_twice_is_named(
    tmp_path: Path,
) -> None:
    config_file = furnish(tmp_path)
    other = of_a_second_host(config_file)

    def named(config_file: Path) -> list[str]:
        checks = check_installation(config_file, env={}).checks
        return [check.found for check in checks if "a set of that name" in check.found]

    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        assert named(config_file) == []
        (found,) = named(other)
    assert found.startswith("main: host-1 also backs up a set of that name")


def test_the_watch_signs_the_head(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        installation.ledger.runners.register(None, "serve", installation.clock())
        outcome = keep_watch(installation, "direct")
        assert outcome.head == installation.ledger.newest_event()
        assert installation.ledger.audit.verify().witnessed
