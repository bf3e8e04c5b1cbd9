import errno
import os
import subprocess
import time
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from backup.errors import AlreadyThere, NotFound, StoreUnavailable, UsageError
from backup.stores import ObjectLock, Store, directory
from backup.stores.directory import DirectoryStore
from backup.stores.directory_keeper import DirectoryKeeperStore
from backup.stores.keeper import KeeperStore
from tests.backup.memory_stores import MemoryKeeperStore, MemoryStore
from tests.backup.stores_contract import LockedContract, StoreContract, UnlockedContract


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record syncs and removals from here on, in order."""
    seen: list[str] = []
    unlink, fsync = os.unlink, os.fsync

    def noted_unlink(path: Path, *, dir_fd: int | None = None) -> None:
        seen.append(f"unlink {path}")
        unlink(path, dir_fd=dir_fd)

    def noted_fsync(descriptor: int) -> None:
        seen.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    monkeypatch.setattr(os, "unlink", noted_unlink)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    return seen


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestMemoryKeeperStore(UnlockedContract):
    @pytest.fixture
    def store(self) -> KeeperStore:
        return MemoryKeeperStore()


class TestLockedMemoryKeeperStore(LockedContract):
    @pytest.fixture
    def store(self) -> KeeperStore:
        return MemoryKeeperStore(lock=ObjectLock(mode="COMPLIANCE", days=30))


def test_keeper_clock_is_that_of_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch

    def dated_by_another(path: Path, mode: int, exist_ok: bool) -> None:
        touch(path, mode, exist_ok)
        os.utime(path, (1_000_000_000, 1_000_000_000))

    monkeypatch.setattr(Path, "touch", dated_by_another)
    clock = DirectoryKeeperStore(tmp_path / "share").clock()
    assert clock == datetime.fromtimestamp(1_000_000_000, UTC)
    assert [*(tmp_path / "share" / directory.INCOMING).iterdir()] == []


@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_object_removed_during_listing_does_not_end_it(tmp_path: Path, kind: str) -> None:
    store = MemoryKeeperStore() if kind == "memory" else DirectoryKeeperStore(tmp_path)
    for name in ("w/a/p/00/1", "w/a/p/00/2", "w/a/p/00/3", "w/a/p/01/4"):
        store.put(name, b"a pack")
    listing = store.list("w/")
    assert next(listing).name == "w/a/p/00/1"
    store.remove("w/a/p/00/2")
    assert [stat.name for stat in listing] == ["w/a/p/00/3", "w/a/p/01/4"]


class TestDirectoryKeeperStore(UnlockedContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> KeeperStore:
        return DirectoryKeeperStore(tmp_path / "vault")

    def test_a_removed_name_survives_no_power_cut(self, tmp_path: Path, done: list[str]) -> None:
        store = DirectoryKeeperStore(tmp_path)
        store.put("a/b", b"x")
        done.clear()
        store.remove("a/b")
        assert done == [f"unlink {tmp_path / 'a/b'}", f"sync {tmp_path / 'a'}"]
        store.remove("a/b")
        assert done[2:] == [f"sync {tmp_path / 'a'}"], "who removed it may have died before that"


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return DirectoryStore(tmp_path / "vault")

    def test_object_is_read_only_without_leftovers(self, tmp_path: Path) -> None:
        DirectoryStore(tmp_path).put("a/b", b"x")
        assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o440
        assert list((tmp_path / ".incoming").iterdir()) == []

    def test_another_instance_sees_stored_objects(self, tmp_path: Path) -> None:
        DirectoryStore(tmp_path).put("a/b", b"x")
        assert DirectoryStore(tmp_path).get("a/b") == b"x"

    def test_abandoned_draft_is_unlisted_and_removed_later(self, tmp_path: Path) -> None:
        incoming = tmp_path / ".incoming"
        incoming.mkdir()
        old, new, foreign = incoming / ("0a" * 16), incoming / ("0b" * 16), incoming / "notes"
        for draft in (old, new, foreign):
            draft.write_bytes(b"half of somethi")
        for draft in (old, foreign):
            os.utime(draft, (time.time() - 90_000,) * 2)
        store = DirectoryStore(tmp_path)
        assert list(store.list("")) == []
        store.put("a", b"")
        assert sorted(incoming.iterdir()) == [new, foreign]

    def test_drafts_folder_that_is_a_link_is_untouched(self, tmp_path: Path) -> None:
        """The administrator of the disk could link this folder to any other."""
        vault, elsewhere = tmp_path / "vault", tmp_path / "elsewhere"
        vault.mkdir()
        elsewhere.mkdir()
        precious = elsewhere / ("0a" * 16)
        precious.write_text("kept for years")
        os.utime(precious, (1, 1))
        (vault / ".incoming").symlink_to(elsewhere)
        store = DirectoryStore(vault)
        for _ in range(2):
            with pytest.raises(UsageError, match="remove it"):
                store.put("a", b"x")
        assert [path.name for path in elsewhere.iterdir()] == [precious.name]
        assert list(store.list("")) == []

    def test_pipe_is_no_object_and_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a")
        (tmp_path / "b").symlink_to("/dev/zero")
        store = DirectoryStore(tmp_path)
        for name in ("a", "b"):
            for read in (store.get, store.stat, lambda name: store.get_range(name, 0, 4)):
                with pytest.raises(NotFound):
                    read(name)
            with pytest.raises(NotFound):
                store.read_into(name, 0, memoryview(bytearray(4)))
        assert list(store.list("")) == []

    def test_impossible_file_year_does_not_end_a_listing(
        self,
    ) -> None:
        """Btrfs, tmpfs and network shares store any year."""
        for timestamp, year in ((2.0**40, 9000), (-(2.0**40), 1000), (0.0, 1970)):
            assert directory._moment(timestamp).year == year

    def test_endless_folders_do_not_end_a_listing(self, tmp_path: Path) -> None:
        store = DirectoryStore(tmp_path)
        for name in ("w/a", "w/z"):
            store.put(name, b"x")
        with chdir(tmp_path / "w"):
            for _ in range(3000):
                Path("m").mkdir()
                os.chdir("m")
        try:
            assert [stat.name for stat in store.list("")] == ["w/a", "w/z"]
        finally:
            # `shutil` cannot remove a tree of this depth.
            subprocess.run(["rm", "-rf", tmp_path / "w/m"], check=True)

    def test_unwritable_store_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(StoreUnavailable, match=r"storing a failed.*run again"):
            DirectoryStore(tmp_path / "file").put("a", b"")

    def test_foreign_object_is_no_lack_of_space(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = DirectoryStore(tmp_path)
        store.put("a", b"x")

        def closed(*_: object) -> NoReturn:
            raise PermissionError(errno.EACCES, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", closed)
            with pytest.raises(StoreUnavailable) as error:
                store.get("a")
        assert "Permission denied" in str(error.value)

    def test_file_system_without_links_is_refused_by_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """USB disks are formatted with FAT."""
        store = DirectoryStore(tmp_path)
        store.try_to_put()

        def refused(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        with monkeypatch.context() as patch:
            patch.setattr(os, "link", refused)
            with pytest.raises(UsageError, match="hard links"):
                store.put("top", b"x")
            with pytest.raises(UsageError, match="hard links"):
                store.try_to_put()
        assert [path.name for path in tmp_path.rglob("*")] == [".incoming"]
        store.put("top", b"x")
        assert store.get("top") == b"x"

    def test_failed_put_leaves_no_object_or_draft(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = DirectoryStore(tmp_path)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StoreUnavailable, match="No space"):
                store.put("top", b"x")
        assert list(store.list("")) == []
        store.put("top", b"x")
        assert store.get("top") == b"x"

    def test_existing_name_is_durable_before_the_error(
        self, tmp_path: Path, done: list[str]
    ) -> None:
        DirectoryStore(tmp_path).put("a/b", b"x")
        done.clear()
        with pytest.raises(AlreadyThere):
            DirectoryStore(tmp_path).put("a/b", b"y")
        assert done == [f"sync {tmp_path / 'a'}"]

    def test_name_taken_meanwhile_is_durable_before_the_error(
        self, tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        DirectoryStore(tmp_path).put("a/b", b"x")
        done.clear()
        # As if the look-up was made before the file existed.
        monkeypatch.setattr(Path, "exists", lambda _: False)
        with pytest.raises(AlreadyThere):
            DirectoryStore(tmp_path).put("a/b", b"y")
        assert f"sync {tmp_path / 'a'}" in done

    def test_folders_are_durable_before_their_content(
        self, tmp_path: Path, done: list[str]
    ) -> None:
        # As if another process had made the folders and died before it synced their names.
        vault = tmp_path / "vault"
        (vault / "a/b").mkdir(parents=True)
        store = DirectoryStore(vault)
        store.put("a/b/c", b"x")
        folders = [f"sync {vault}", f"sync {vault / 'a'}"]
        assert [step for step in done if step in folders][:2] == folders
        assert [step for step in done if step.startswith("sync")][-1] == f"sync {vault / 'a/b'}"
        done.clear()
        store.put("a/b/d", b"x")
        assert len([step for step in done if step.startswith("sync")]) == 2, "file and folder"
