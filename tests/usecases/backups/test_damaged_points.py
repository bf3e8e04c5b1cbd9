"""A damaged snapshot is reported by every command that chooses a point."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.format.object_names import snapshot_name
from standfast.cli.backups.restore_summary import restore_summary_lines
from standfast.errors import Damaged, ExitStatus, UsageError
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.recovery_point_contents import list_points
from standfast.usecases.core.installation import Installation
from tests.usecases.backup_installation import furnish, identity, installation_at


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An installation with three points."""
    with installation_at(furnish(tmp_path)) as installation:
        for number in range(3):
            (tmp_path / "recordings" / "notes.txt").write_text(f"backup {number}\n")
            run_backup(installation, "main", "direct")
        yield installation


def damage(folder: Path, sequence: int) -> None:
    path = folder / "vault" / snapshot_name("host-1", sequence)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def names(installation: Installation) -> list[str]:
    return [point.name for point in list_points(installation).points]


def test_list_marks_a_damaged_point(installation: Installation, tmp_path: Path) -> None:
    assert list_points(installation).exit_status is ExitStatus.DONE
    damage(tmp_path, 2)
    listed = list_points(installation)
    assert listed.exit_status is ExitStatus.DAMAGED
    assert [point.sequence for point in listed.points] == [1, 3]
    ((name, problem),) = listed.damaged
    assert name == "host-1/0000000002"
    assert "signature" in problem


@pytest.mark.parametrize("text", ["2", "0000000002", "host-1/2", "host-1/0000000002"])
def test_damaged_point_is_not_missing(
    installation: Installation, tmp_path: Path, text: str
) -> None:
    damage(tmp_path, 2)
    with pytest.raises(Damaged, match="host-1/0000000002 cannot be used"):
        restore(installation, text, tmp_path / "out", identity(tmp_path))
    with pytest.raises(UsageError, match="not found"):
        restore(installation, "host-2/2", tmp_path / "out", identity(tmp_path))
    with pytest.raises(UsageError, match="not found"):
        restore(installation, "4", tmp_path / "out", identity(tmp_path))


def test_damaged_latest_warns(installation: Installation, tmp_path: Path) -> None:
    damage(tmp_path, 3)
    outcome = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
    assert outcome.point.sequence == 2
    assert (tmp_path / "out" / "recordings" / "notes.txt").read_text() == "backup 1\n"
    assert outcome.exit_status is ExitStatus.DAMAGED
    assert outcome.newer_damaged == ("host-1/0000000003",)
    text = "\n".join(map(str, restore_summary_lines(outcome)))
    assert "may not be the latest" in text
    # A command that names a sound point restores it.
    named = restore(installation, "2", tmp_path / "named", identity(tmp_path))
    assert named.exit_status is ExitStatus.DONE


def test_older_damaged_point_leaves_latest_alone(
    installation: Installation, tmp_path: Path
) -> None:
    damage(tmp_path, 1)
    outcome = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
    assert (outcome.exit_status, outcome.point.sequence) == (ExitStatus.DONE, 3)


def test_only_damaged_points_are_not_none(installation: Installation, tmp_path: Path) -> None:
    for sequence in (1, 2, 3):
        damage(tmp_path, sequence)
    assert list_points(installation).exit_status is ExitStatus.DAMAGED
    with pytest.raises(Damaged, match="cannot be used"):
        restore(installation, "latest", tmp_path / "out", identity(tmp_path))


def test_skipped_junk_is_no_damaged_point(installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "vault" / snapshot_name("host-1", 4)
    path.write_bytes(b"junk")
    # The junk may be a damaged snapshot.
    assert list_points(installation).exit_status is ExitStatus.DAMAGED
    run_backup(installation, "main", "direct")
    assert list_points(installation).exit_status is ExitStatus.DONE
    assert names(installation)[-1] == "host-1/0000000005"
    assert (
        restore(installation, "latest", tmp_path / "out", identity(tmp_path)).exit_status
        is ExitStatus.DONE
    )
