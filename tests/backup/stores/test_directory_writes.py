"""Writes of a folder store: pieces, direct I/O, order of syncs."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from backup.stores import directory
from backup.stores.directory import DirectoryStore
from backup.system.durable_files import create_file
from tests.backup.stores.test_stores import done
from tests.backup.trees import noise

__all__ = ["done"]


@pytest.mark.parametrize("size", [10_000, 2 * 1024 * 1024])
def test_disk_with_short_writes_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Linux writes at most 2 GiB; a share or a signal can stop earlier."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:4096]))
    store = DirectoryStore(tmp_path)
    content = noise(size, 5)
    store.put("a/b", content)
    assert store.get("a/b") == content


def test_disk_without_direct_writes_is_written_normally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, fcntl_of_kernel = os.write, fcntl.fcntl
    direct: list[bool] = []

    def noted(descriptor: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL:
            direct.append(bool(flags & os.O_DIRECT))
            flags &= ~os.O_DIRECT
        return fcntl_of_kernel(descriptor, command, flags)

    def refusing(descriptor: int, data: memoryview) -> int:
        if direct and direct[-1]:
            raise OSError(errno.EINVAL, "Invalid argument")
        return write(descriptor, data)

    monkeypatch.setattr(fcntl, "fcntl", noted)
    monkeypatch.setattr(os, "write", refusing)
    store = DirectoryStore(tmp_path)
    content = noise(2 * 1024 * 1024, 6)
    store.put("a/b", content)
    assert direct == [True, False]
    monkeypatch.undo()
    assert store.get("a/b") == content


@pytest.mark.parametrize(
    ("why", "size", "tries"), [(errno.EIO, 2048, 1), (errno.EINVAL, 2048, 2), (errno.EINVAL, 1, 1)]
)
def test_write_refused_for_another_reason_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int, size: int, tries: int
) -> None:
    """An error of a cached write is not an unsupported direct write."""
    tried: list[int] = []

    def refusing(descriptor: int, data: memoryview) -> int:
        tried.append(len(data))
        assert len(tried) < 9
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(os, "write", refusing)
    with pytest.raises(OSError, match=os.strerror(why)):
        directory._write_synced(tmp_path / "draft", noise(size * 1024, 7))
    assert len(tried) == tries


def test_removed_folder_is_created_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a/b/c", b"x")
    shutil.rmtree(tmp_path / "a")
    store.put("a/b/d", b"y")
    assert store.get("a/b/d") == b"y"


def test_new_vault_survives_with_all_parent_folders(tmp_path: Path, done: list[str]) -> None:
    DirectoryStore(tmp_path / "disk/company/vault").put("a", b"x")
    above = [tmp_path, tmp_path / "disk", tmp_path / "disk/company"]
    assert done[:3] == [f"sync {folder}" for folder in above]


def test_key_file_is_synced_before_its_name(
    tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def noted(draft: Path, path: Path) -> None:
        done.append(f"link {path}")
        link(draft, path)

    monkeypatch.setattr(os, "link", noted)
    create_file(tmp_path / "host.json", b"a key")
    steps = [step for step in done if not step.startswith("unlink")]
    assert steps == [
        f"sync {tmp_path / '.host.json.draft'}",
        f"link {tmp_path / 'host.json'}",
        f"sync {tmp_path}",
    ]
