"""Kills and power cuts at each disk operation of a long backup.

A pack is full with two blobs here, so a test needs no 16 MiB of content for each pack.
"""

import shutil
from pathlib import Path

import pytest

from backup.archiver import blob_writer
from tests.backup.archiver.test_backup_kill import _Backup
from tests.backup.disk_trace import (
    DiskTrace,
    Phase,
    in_tracing_process,
    kill_everywhere,
)
from tests.backup.ptrace import WHERE_TRACED, forked
from tests.backup.trees import KIB, describe, noise

pytestmark = WHERE_TRACED


class _LongBackup(_Backup):
    """A backup with enough changes for an interim recovery point."""

    def __init__(self, folder: Path) -> None:
        # The tracing process runs no other test, so the change of the constants affects none.
        blob_writer.MOST_BLOBS_IN_PACK = 2
        super().__init__(folder)
        for number in range(2):
            path = self.source / f"long-{number}.wav"
            path.write_bytes(noise(300 * KIB, 10 + number))

    def back_up(self) -> None:
        result = self.site.back_up(self.source, interim_packs=1)
        assert (result.complete, result.warnings) == (True, ())

    def interim_points(self) -> list[str]:
        return [point.name for point in self.site.repository().points() if point.is_interim]

    def check(self) -> None:
        everything = describe(self.source)
        for point in self.interim_points():
            out = self.here / "part"
            assert self.site.restore(point, out).problems == ()
            part = describe(out / "files")
            assert part
            assert part == {path: fact for path, fact in everything.items() if path in part}
            shutil.rmtree(out)
        super().check()


def _trace(folder: Path) -> None:
    evening = _LongBackup(folder)
    trace = DiskTrace(evening.again(), evening.back_up)
    snapshots = [
        one.path[-10:] for one in trace.operations if one.call == "link" and "/s/" in one.path
    ]
    assert snapshots == ["0000000002", "0000000003"]
    assert forked(lambda: _has_one(evening)) == 0


def _has_one(evening: _LongBackup) -> None:
    assert evening.interim_points() == ["desk-1/0000000002"]


def _kill(folder: Path, phase: Phase, names_survive: bool | None) -> None:
    evening = _LongBackup(folder)
    kill_everywhere(
        roots=evening.again,
        act=evening.back_up,
        check=evening.check,
        phase=phase,
        names_survive=names_survive,
    )


def test_long_run_commits_an_interim_point(folder: Path) -> None:
    in_tracing_process(_trace, folder)


@pytest.mark.parametrize(
    ("phase", "names_survive"),
    [
        (Phase.AFTER, None),
        (Phase.AFTER, True),
        (Phase.AFTER, False),
        (Phase.DURING, None),
    ],
    ids=["killed", "power cut, and names survive", "power cut", "torn"],
)
def test_interruption_of_long_run_loses_no_point(
    phase: Phase, names_survive: bool | None, folder: Path
) -> None:
    in_tracing_process(_kill, folder, phase, names_survive)
