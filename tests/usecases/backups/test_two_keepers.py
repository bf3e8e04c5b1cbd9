"""The keeper's key on two machines of one ledger, at once and in turn."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.retention.retention_run import RetentionResult
from backup.stores.directory_keeper import DirectoryKeeperStore
from standfast.errors import ExitStatus
from standfast.usecases.backups import retention, retention_holds
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.verification import verify
from standfast.usecases.health.installation_check import check_installation
from tests.backup.trees import describe
from tests.usecases.backup_installation import identity
from tests.usecases.backups.test_retention import RULES, age, name_a_keeper
from tests.usecases.simulated_installations import ALPHA, at, machine, twins

EXPIRED = (("host-1", 1), ("host-1", 2))
A_WEEK = timedelta(days=8)


@pytest.fixture
def kept(tmp_path: Path, postgres_ledger_url: str) -> tuple[Path, Path]:
    """Two machines with the keeper's key, and six backups; two may expire."""
    one, other = twins(tmp_path, postgres_ledger_url)
    name_a_keeper(one, one / "keys" / "keeper.json")
    (other / "keys" / "keeper.json").write_bytes((one / "keys" / "keeper.json").read_bytes())
    for folder in (one, other):
        with (folder / "standfast.toml").open("a") as file:
            file.write(RULES)
    for number in range(6):
        (one / "recordings" / "notes.txt").write_bytes(os.urandom(50_000))
        with at(one) as here:
            run_backup(here, "main", "direct")
        if number == 1:
            age(one / "vault", 40)
    return one, other


def keep(folder: Path, later: timedelta = timedelta(0)) -> RetentionResult:
    """Run retention on this machine at a later time of the vault."""
    with pytest.MonkeyPatch.context() as patch, at(folder) as installation:
        patch.setattr(DirectoryKeeperStore, "clock", lambda _: datetime.now(UTC) + later)
        outcome = retention.run_retention(installation, most_percent=40, is_clock_right=True)
    assert outcome.exit_status is ExitStatus.DONE, outcome.result.problems
    return outcome.result


@pytest.fixture(scope="module")
def two_processes() -> Iterator[ProcessPoolExecutor]:
    """Each keeper has a process of its own."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.sampled
@pytest.mark.parametrize("is_at_once", [True, False])
def test_two_keepers_expire_each_thing_once(
    kept: tuple[Path, Path], two_processes: ProcessPoolExecutor, tmp_path: Path, is_at_once: bool
) -> None:
    def both(later: timedelta) -> list[RetentionResult]:
        if is_at_once:
            runs = [two_processes.submit(keep, folder, later) for folder in kept]
            return [run.result() for run in runs]
        return [keep(folder, later) for folder in kept]

    one, _ = kept
    first = both(timedelta(0))
    assert sorted(point for result in first for point in result.expired) == [*EXPIRED]
    marked = [pack.pack for result in first for pack in result.marked]
    assert len(marked) == len({*marked}) > 0
    assert not any(result.removed for result in both(timedelta(days=6)))
    last = both(A_WEEK)
    assert sorted(p.pack for result in last for p in result.dropped) == sorted(marked)
    assert {p.pack for result in last for p in result.removed} == {*marked}
    assert not any(result.records for result in both(A_WEEK))
    with at(one) as here:
        report = verify(here, read=True, identity_file=identity(one))
        assert report.exit_status is ExitStatus.DONE, report.findings
        for sequence in range(3, 7):
            to = tmp_path / "restored" / str(sequence)
            outcome = restore(here, f"host-1/{sequence:010d}", to, identity(one))
            assert outcome.exit_status is ExitStatus.DONE
        assert describe(to / "recordings") == describe(one / "recordings")
        assert here.ledger.audit.verify(now=here.clock()).findings == ()


def test_hold_stops_the_keeper_elsewhere(kept: tuple[Path, Path]) -> None:
    one, other = kept
    with at(one) as here:
        retention_holds.create_hold(here, "inc-2026-0001")
    held = keep(other)
    assert (held.expired, held.records) == ((), ())
    assert "inc-2026-0001" in str(held.hold)
    assert f"on {ALPHA}" in str(held.hold)
    with at(one) as here:
        retention_holds.release_hold(here, "inc-2026-0001")
    assert keep(other).expired == EXPIRED


def test_hold_of_lost_machine_is_released_elsewhere(
    kept: tuple[Path, Path],
) -> None:
    one, other = kept
    with at(one) as here:
        retention_holds.create_hold(here, "inc-2026-0001")
    with at(other) as there:
        assert retention_holds.exists(there, "inc-2026-0001")
        retention_holds.release_hold(there, "inc-2026-0001")
        assert not retention_holds.exists(there, "inc-2026-0001")
    assert keep(one).hold is not None, "where it lies it stands until it is released there"
    assert keep(other).hold is not None, "and the other knows again"


def test_second_scheduled_keeper_is_named(
    kept: tuple[Path, Path],
) -> None:
    one, other = kept
    keep(other)
    assert twice(one) == []
    for folder in kept:
        config = folder / "standfast.toml"
        table = '[backup.keeping]\nschedule = "0 6 * * *"\n'
        config.write_text(config.read_text().replace("[backup.keeping]\n", table))
    (found,) = twice(one)
    assert found.startswith("the keeper of this vault also runs on beta")
    assert twice(other) == []


def twice(folder: Path) -> list[str]:
    with machine(folder.name):
        report = check_installation(folder / "standfast.toml", env={})
    return [one.found for one in report.checks if "keeper of this vault" in one.found]
