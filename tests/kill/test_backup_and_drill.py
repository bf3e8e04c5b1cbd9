"""A backup killed at any point keeps earlier points and runs again."""

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.recovery_point_contents import list_points
from standfast.usecases.backups.verification import verify
from standfast.usecases.setup.new_installation import IDENTITY_FILE, OFFLINE, set_up
from tests.kill.backup_and_drill import SET, back_up_and_drill
from tests.kill.tracing import Death, Phase, in_own_process, traced_points
from tests.sampling import sample
from tests.usecases.installations import installation_at

KILLED = -9
LONG_AGO = 1_700_000_000_000_000_000


@dataclass
class BackupHost:
    """An installation with one good point and a source that has changed."""

    folder: Path

    @property
    def config_file(self) -> Path:
        return self.folder / "place/standfast.toml"

    @property
    def identity(self) -> Path:
        return self.folder / "place" / OFFLINE / IDENTITY_FILE

    def run(self, death: Death | None) -> int:
        log = self.folder / "trace.log"
        log.unlink(missing_ok=True)
        return in_own_process(back_up_and_drill, self.config_file, self.identity, log, death)

    @property
    def trace(self) -> list[str]:
        return traced_points(self.folder / "trace.log")


def contents(tree: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in sorted(tree.rglob("*"))
        if path.is_file()
    }


def changed(source: Path) -> None:
    (source / "notes.txt").write_text("the second backup\n")
    (source / "new.bin").write_bytes(os.urandom(200_000))
    (source / "old.txt").unlink()


@pytest.fixture(scope="module")
def after_first_backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the state before the second backup; all kills use one path."""
    folder = tmp_path_factory.mktemp("backup")
    source = folder / "here/source"
    source.mkdir(parents=True)
    (source / "notes.txt").write_text("the first backup\n")
    (source / "old.txt").write_text("soon gone\n")
    (source / "call.bin").write_bytes(os.urandom(300_000))
    for path in source.iterdir():
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    set_up(
        folder / "here/place",
        source,
        organisation="Example",
        contact_line="020 7946 0000",
        now=datetime.now(UTC),
    )
    host = BackupHost(folder / "here")
    assert host.run(None) == 0
    shutil.copytree(source, folder / "first-source", copy_function=shutil.copy2)
    changed(source)
    (folder / "here").rename(folder / "kept")
    return folder


def fresh(after_first_backup: Path) -> BackupHost:
    """Restore the second evening at the path that the configuration names."""
    shutil.rmtree(after_first_backup / "here", ignore_errors=True)
    shutil.copytree(after_first_backup / "kept", after_first_backup / "here", symlinks=True)
    return BackupHost(after_first_backup / "here")


def check_after(host: BackupHost, first_source: Path) -> None:
    """Check the first point, the newest one, and both chains."""
    with installation_at(host.config_file) as installation:
        points = list_points(installation, SET).points
        for point, source in ((points[0], first_source), (points[-1], host.folder / "source")):
            to = host.folder / f"restored-{point.sequence}"
            outcome = restore(installation, point.name, to, host.identity)
            assert outcome.exit_status is ExitStatus.DONE
            assert contents(to / "source") == contents(source)
        report = verify(installation, read=True, identity_file=host.identity)
        assert report.exit_status is ExitStatus.DONE, report.findings
        assert installation.ledger.audit.verify().findings == ()
        for kind in ("backup", "drill"):
            assert installation.ledger.runs.all(kind)[0].state == "done"
        assert not any(installation.config.drills.folder.glob("*/tree")), "each target is destroyed"


def test_a_clean_backup_passes_every_check(after_first_backup: Path) -> None:
    host = fresh(after_first_backup)
    assert host.run(None) == 0
    kinds = {point.split(" ")[0] for point in host.trace}
    assert kinds == {"commit", "put", "send-log"}
    check_after(host, after_first_backup / "first-source")


@pytest.mark.parametrize("phase", Phase)
def test_killed_backup_is_whole_after_a_rerun(phase: Phase, after_first_backup: Path) -> None:
    host = fresh(after_first_backup)
    assert host.run(None) == 0
    points = sample(host.trace, f"backup {phase}")
    # By point: 0 if the run did not reach the point; the exit code if the run failed.
    ends: dict[str, int] = {}
    for point in points:
        host = fresh(after_first_backup)
        ends[point] = host.run(Death(point, phase))
        assert host.run(None) == 0, (point, phase)
        check_after(host, after_first_backup / "first-source")
    assert ends == dict.fromkeys(points, KILLED), "the set of killed points equals the trace"
