import os
import time
from pathlib import Path

import pytest

from backup.errors import StoreUnavailable
from backup.stores import Store
from backup.stores.directory import DirectoryStore
from backup.stores.memory import MemoryStore
from tests.backup.stores_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return DirectoryStore(tmp_path / "vault")

    def test_an_object_is_read_only_and_nothing_is_left_over(self, tmp_path: Path) -> None:
        DirectoryStore(tmp_path).put("a/b", b"x")
        assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o440
        assert list((tmp_path / ".incoming").iterdir()) == []

    def test_another_instance_sees_what_was_put(self, tmp_path: Path) -> None:
        DirectoryStore(tmp_path).put("a/b", b"x")
        assert DirectoryStore(tmp_path).get("a/b") == b"x"

    def test_a_draft_that_a_crash_left_is_not_listed_and_goes_after_a_day(
        self, tmp_path: Path
    ) -> None:
        incoming = tmp_path / ".incoming"
        incoming.mkdir()
        old, new = incoming / "old", incoming / "new"
        for draft in (old, new):
            draft.write_bytes(b"half of somethi")
        os.utime(old, (time.time() - 90_000,) * 2)
        store = DirectoryStore(tmp_path)
        assert list(store.list("")) == []
        store.put("a", b"")
        assert not old.exists()
        assert new.exists()

    def test_a_store_that_cannot_be_written_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(StoreUnavailable, match=r"storing a failed.*run again"):
            DirectoryStore(tmp_path / "file").put("a", b"")

    def test_a_failed_put_leaves_no_object_and_no_draft(
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
