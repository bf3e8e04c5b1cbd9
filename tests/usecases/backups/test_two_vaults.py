"""Two hosts with one ledger, a vault each, and equal names."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.alarms.notification import FAILED, OVER, RAISED
from standfast.usecases.alarms.recovery_point_age import freshness
from standfast.usecases.backups.backup_run import run_backup, set_age
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.recovery_point_contents import list_points
from standfast.usecases.backups.verification import is_vault_damaged, verify
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.status import look
from standfast.usecases.health.status_record import Status
from standfast.usecases.health.watchdog import keep_watch
from tests import ledger_schema
from tests.backup.trees import describe
from tests.usecases.backup_installation import NOW, damage_a_pack, furnish, identity
from tests.usecases.simulated_installations import ALPHA, BETA, at, machine, share_ledger


@pytest.fixture
def hosts(tmp_path: Path, postgres_ledger_url: str) -> tuple[Path, Path]:
    """Two installations by `init`; the second joined the first's ledger."""
    one, other = tmp_path / ALPHA, tmp_path / BETA
    for folder in (one, other):
        folder.mkdir()
        share_ledger(furnish(folder), postgres_ledger_url, one / "keys" / "ledger")
    ledger_schema.create(postgres_ledger_url, one / "keys" / "ledger", one / "witness.jsonl", NOW)
    shutil.rmtree(other / "keys" / "ledger")
    return one, other


def status(folder: Path) -> Status:
    with machine(folder.name):
        return look(folder / "standfast.toml", {}, datetime.now(UTC))


def newest(folder: Path) -> list[str]:
    """Return whether the status shows each set as backed up and drilled."""
    return [
        f"{one.name} {one.last_backup is not None} {one.last_drill is not None}"
        for one in status(folder).sets
    ]


def test_runs_of_two_hosts_are_separate(hosts: tuple[Path, Path]) -> None:
    one, other = hosts
    with at(one) as here:
        run_backup(here, "main", "direct")
        run_drill(here, "main", identity(one))
    assert newest(one) == ["main True True", "other False False"]
    assert newest(other) == ["main False False", "other False False"]
    with at(other) as there:
        assert set_age(there, "main").good_at is None
        assert set_age(there, "main").is_missed
        assert freshness(there, "main").complete_at is None
        first = run_backup(there, "main", "direct")
    assert (first.is_incomparable, first.cloned_host, first.exit_status) == (
        False,
        None,
        ExitStatus.DONE,
    )
    assert newest(other) == ["main True False", "other False False"]
    with at(other) as there:
        run_drill(there, "main", identity(other))
        listed = list_drills(there)
    assert (len(listed.runs), listed.problems, listed.elsewhere) == (2, (), (ALPHA,))
    for folder in hosts:
        with machine(folder.name):
            report = check_installation(folder / "standfast.toml", env={})
        assert [c.found for c in report.checks if "set of that name" in c.found] == []
        (namesake,) = [c.found for c in report.checks if "another vault" in c.found]
        elsewhere = ALPHA if folder is other else BETA
        assert namesake.startswith(
            f"host-1 is also the name of a host with another vault, on {elsewhere}: "
        )


def test_the_latest_of_each_host_is_its_own(hosts: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in hosts:
        (folder / "recordings" / "half.tmp").unlink()
        with at(folder) as installation:
            run_backup(installation, "main", "direct")
    for folder in hosts:
        with at(folder) as installation:
            assert [p.name for p in list_points(installation).points] == ["host-1/0000000001"]
            to = tmp_path / "restored" / folder.name
            restore(installation, "latest", to, identity(folder))
            assert describe(to / "recordings") == describe(folder / "recordings")


def test_damage_ends_only_in_its_vault(
    hosts: tuple[Path, Path],
) -> None:
    one, other = hosts
    for folder in hosts:
        with at(folder) as installation:
            run_backup(installation, "main", "direct")
    damage_a_pack(one)
    with at(one) as here:
        assert verify(here, read=True).exit_status is ExitStatus.DAMAGED
    with at(other) as there:
        assert not is_vault_damaged(there)
        sound = verify(there, read=True)
        assert (sound.exit_status, sound.open_damage) == (ExitStatus.DONE, None)
    with at(one) as here:
        assert is_vault_damaged(here)
        assert verify(here).open_damage is not None
    assert status(one).verify_failed is not None
    assert status(other).verify_failed is None


def watch(folder: Path) -> list[tuple[str, bool]]:
    """Return the notifications and attempts of one watch."""
    with at(folder) as installation:
        return [(one.subject, one.is_raised) for one in keep_watch(installation, "serve").notified]


def alarms(installation: Installation) -> list[tuple[str, str, str]]:
    rows = reversed(installation.ledger.runs.all("alarm", states=[RAISED, FAILED, OVER]))
    return [(row.subject, row.state, row.summary["machine"]) for row in rows]


def test_alarm_ends_only_on_its_host(
    hosts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = hosts
    for folder in hosts:
        with at(folder) as installation:
            run_backup(installation, "main", "direct")
    damage_a_pack(one)
    with at(one) as here:
        verify(here, read=True)
    with at(other) as there:
        verify(there, read=True)
    assert watch(one) == [("vault", True)]
    for folder in (other, one, other):
        assert watch(folder) == [], "neither says that it is over, nor tells it again"
    with at(one) as here:
        # There is no recipient, because nobody is enrolled.
        assert alarms(here) == [("vault", FAILED, ALPHA)]
    (mine,) = status(one).alarms
    (theirs,) = status(other).alarms
    assert (mine.kind, mine.host) == ("vault", "")
    assert (theirs.kind, theirs.host) == ("vault", "host-1 on alpha")


def test_stale_set_is_stale_only_on_its_host(
    hosts: tuple[Path, Path],
) -> None:
    one, other = hosts
    later = timedelta(days=5)
    with at(one) as here:
        run_backup(here, "main", "direct")
    with at(other) as there:
        run_backup(there, "main", "direct")
        for row in there.ledger.runs.all("backup"):
            if row.summary["machine"] == BETA:
                summary = {**row.summary, "consistent_at": f"{NOW - later:%Y-%m-%dT%H:%M:%S.%fZ}"}
                there.ledger.runs.finish(row.id, "backup", "done", summary, "os:t", there.clock())
    for folder in (one, other, one, other):
        told = watch(folder)
        assert all(subject == "freshness.main" for subject, _ in told)
    with at(one) as here:
        assert alarms(here) == [("freshness.main", FAILED, BETA)]
    assert [alarm.host for alarm in status(one).alarms] == ["host-1 on beta"]
    assert [alarm.host for alarm in status(other).alarms] == [""]
