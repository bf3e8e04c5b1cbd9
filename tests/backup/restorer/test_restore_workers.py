"""Restore with several workers, killed together or one by one.

The order of the workers is random, so a point is named by its operation: the n-th call of its kind
at a path. The names of the kills are those of an undisturbed run.
"""

import os
import signal
from pathlib import Path

import pytest

from backup.errors import BackupError
from backup.restorer import large_files, work_units
from backup.system.process_fork import may_fork
from tests.backup.disk_trace import (
    DiskTrace,
    Phase,
    Victim,
    in_tracing_process,
    kill_everywhere,
)
from tests.backup.ptrace import WHERE_TRACED
from tests.backup.restorer.test_restore_disk import Restoring
from tests.backup.trees import KIB, noise

pytestmark = WHERE_TRACED
WORKERS = 2
PATIENCE_SECONDS = 120
FOLDERS, FILES = 3, 3


class _ByWorkers(Restoring):
    """A tree with content for all workers, in stretches and pieces."""

    def fill(self) -> None:
        # The tracing process runs no other test, so the change of the constants affects none.
        work_units.FEW_ENTRIES = work_units.UNIT_ENTRIES = FILES
        large_files.SPLIT_BYTES, large_files.PIECE_BYTES = 1000 * KIB, 300 * KIB
        self._owner = False
        for number in range(FOLDERS):
            (self._source / f"{number}").mkdir(parents=True)
            for name in range(FILES):
                path = self._source / f"{number}/{name}"
                path.write_bytes(noise(3 * KIB, FILES * number + name))
        (self._source / "1/large.bin").write_bytes(noise(2000 * KIB, 1))
        os.link(self._source / "0/0", self._source / "2/far-off")
        (self._source / "2").chmod(0o555)

    def act(self) -> None:
        assert may_fork(), "so the workers are processes"
        # A process that hangs ends with a signal, which the test does not expect.
        signal.alarm(PATIENCE_SECONDS)
        try:
            result = self._site.restore("latest", self._out, workers=WORKERS)
        except BackupError as error:
            if "was killed" not in str(error):
                raise
            os._exit(error.exit_code)
        assert result.problems == ()


def _trace(folder: Path) -> None:
    restoring = _ByWorkers(folder)
    trace = DiskTrace(restoring.again(), restoring.act)
    by_workers = {one.call for one in trace.operations if one.is_forked}
    assert {"openat", "write", "pwrite64", "mkdirat", "utimensat"} <= by_workers
    by_the_parent = {one.call for one in trace.operations if not one.is_forked}
    assert {"pwrite64", "fsync", "syncfs", "linkat", "unlinkat", "fchmod"} <= by_the_parent
    in_pieces = [one for one in trace.operations if one.path.endswith("/large.bin")]
    assert [one.call for one in in_pieces].count("pwrite64") > 1


def _kill(folder: Path, phase: Phase, victim: Victim, names_survive: bool | None) -> None:
    restoring = _ByWorkers(folder)
    kill_everywhere(
        roots=restoring.again,
        act=restoring.act,
        check=restoring.check,
        phase=phase,
        names_survive=names_survive,
        victim=victim,
        by_name=True,
        ends=BackupError.exit_code if victim is Victim.LANE else -signal.SIGKILL,
    )


def test_workers_make_most_of_the_changes(folder: Path) -> None:
    in_tracing_process(_trace, folder)


@pytest.mark.parametrize("phase", Phase)
def test_restore_resumes_after_kill_of_the_process_group(phase: Phase, folder: Path) -> None:
    in_tracing_process(_kill, folder, phase, Victim.EVERYBODY, None)


@pytest.mark.parametrize("phase", Phase)
def test_killed_worker_is_reported_and_restore_resumes(phase: Phase, folder: Path) -> None:
    in_tracing_process(_kill, folder, phase, Victim.LANE, None)


def test_workers_end_after_their_parent_is_killed(
    folder: Path,
) -> None:
    in_tracing_process(_kill, folder, Phase.AFTER, Victim.PARENT, None)


@pytest.mark.parametrize("names_survive", [True, False])
def test_power_cut_during_parallel_restore_is_resumed(names_survive: bool, folder: Path) -> None:
    in_tracing_process(_kill, folder, Phase.AFTER, Victim.EVERYBODY, names_survive)
