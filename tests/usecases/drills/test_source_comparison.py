"""A drill compares the restored files with the source, byte by byte."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.config.sections.backup import BackupSetConfig
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.source_comparison import Comparison, compare
from tests.usecases.backup_installation import furnish, identity, installation_at

NAME = "n" * 250
# Folders of the longest name: over 4,096 bytes, more than the kernel accepts as one path.
DEPTH = 20


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installation_at(furnish(tmp_path)) as installation:
        yield installation


def compared(installation: Installation, folder: Path) -> Comparison:
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        other: BackupSetConfig = installation.config.backup.sets["other"]
        return compare(other, folder / "tree", scratch, lambda: datetime.now(UTC))
    finally:
        scratch.rmdir()


def write_deep(top: Path, content: bytes, *, begins: bool) -> None:
    """Write a file too deep for one path, folder by folder."""
    here = os.open(top, os.O_RDONLY)
    try:
        for _ in range(DEPTH):
            if begins:
                os.mkdir(NAME, dir_fd=here)
            below = os.open(NAME, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        file = os.open("note", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=here)
        os.write(file, content)
        os.utime(file, ns=(0, 0))
        os.close(file)
    finally:
        os.close(here)


def test_deep_file_is_compared(installation: Installation, tmp_path: Path) -> None:
    live = tmp_path / "scripts"
    write_deep(live, b"who called", begins=True)
    run_backup(installation, "other", "direct")
    restore(installation, "latest", tmp_path / "tree", identity(tmp_path), set_name="other")
    assert compared(installation, tmp_path).differences == ()
    write_deep(live, b"who CALLED", begins=False)
    (difference,) = compared(installation, tmp_path).differences
    assert difference.endswith("/note: content differ")
    for top in (live, tmp_path / "tree"):
        shutil.rmtree(top)  # pytest identifies files by paths, and fails at paths of this length


def test_unreadable_file_is_no_match(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tmp_path / "scripts", tmp_path / "tree" / "scripts")
    assert compared(installation, tmp_path).differences == ()
    real = os.open

    def refusing(path: str | bytes, *how: int, **more: int) -> int:
        if os.fsencode(path) == b"greeting.txt":
            raise PermissionError(13, "Permission denied")
        return real(path, *how, **more)

    monkeypatch.setattr(os, "open", refusing)
    assert compared(installation, tmp_path).differences == ("scripts/greeting.txt: content differ",)


def test_holes_are_compared_as_what_they_read_as(
    installation: Installation, tmp_path: Path
) -> None:
    with (tmp_path / "scripts" / "holes").open("wb") as file:
        file.truncate(9 << 20)
        file.seek(5 << 20)
        file.write(b"in the middle")
    shutil.copytree(tmp_path / "scripts", tmp_path / "tree" / "scripts")
    same = tmp_path / "tree" / "scripts" / "holes"
    times = same.stat()
    same.write_bytes((tmp_path / "scripts" / "holes").read_bytes())  # the copy has no hole
    os.utime(same, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert compared(installation, tmp_path).differences == ()
    with same.open("r+b") as file:
        file.seek(8 << 20)
        file.write(b"x")
    os.utime(same, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert compared(installation, tmp_path).differences == ("scripts/holes: content differ",)
