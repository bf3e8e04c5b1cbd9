"""Retention, killed or without power at every disk operation.

The trace consists of system calls: each write, sync, link and removal of the store acts in
`test_crash.py`.
"""

import shutil
from pathlib import Path

import pytest

from tests.backup.disk_trace import (
    DiskTrace,
    Phase,
    in_tracing_process,
    kill_everywhere,
)
from tests.backup.keep_run import run_keeping
from tests.backup.ptrace import WHERE_TRACED
from tests.backup.retention.test_crash import Evening, check_after, evening

pytestmark = WHERE_TRACED
__all__ = ["evening"]


class _Keeping:
    """The vault of `evening`, restored for each death."""

    def __init__(self, evening: Evening, folder: Path) -> None:
        self._evening = evening
        self._here = folder / "here"

    def again(self) -> list[Path]:
        shutil.rmtree(self._here, ignore_errors=True)
        shutil.copytree(self._evening.folder, self._here)
        return [self._here / "vault"]

    def act(self) -> None:
        run_keeping(self._here, self._evening.now, None, None)

    def check(self) -> None:
        check_after(self._evening, self._here)


def _trace(evening: Evening, folder: Path) -> None:
    keeping = _Keeping(evening, folder)
    done = {one.call for one in DiskTrace(keeping.again(), keeping.act).operations}
    assert {"openat", "write", "fsync", "link", "unlink"} <= done


def _kill(evening: Evening, folder: Path, phase: Phase, names_survive: bool | None) -> None:
    keeping = _Keeping(evening, folder)
    kill_everywhere(
        roots=keeping.again,
        act=keeping.act,
        check=keeping.check,
        phase=phase,
        names_survive=names_survive,
    )


def test_the_trace_has_every_kind_of_operation(evening: Evening, folder: Path) -> None:
    in_tracing_process(_trace, evening, folder)


@pytest.mark.parametrize("phase", Phase)
def test_killed_at_every_operation_the_next_run_completes(
    phase: Phase, evening: Evening, folder: Path
) -> None:
    in_tracing_process(_kill, evening, folder, phase, None)


@pytest.mark.parametrize("names_survive", [False, True], ids=["nothing else", "names survive"])
def test_a_power_cut_after_every_operation_costs_nothing(
    names_survive: bool, evening: Evening, folder: Path
) -> None:
    in_tracing_process(_kill, evening, folder, Phase.AFTER, names_survive)
