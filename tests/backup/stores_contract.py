"""Contract of every store; the test of each store subclasses it."""

import mmap
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from backup.errors import AlreadyThere, Locked, NotFound, UsageError
from backup.stores import Store
from backup.stores.keeper import KeeperStore
from tests.backup.trees import noise


class StoreContract(ABC):
    is_write_only = False  # True: a writer cannot delete or replace objects

    @pytest.fixture
    @abstractmethod
    def store(self) -> Store: ...

    def test_stored_object_is_returned(self, store: Store) -> None:
        store.put("a/b", b"content")
        assert store.get("a/b") == b"content"

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.stat("empty").size_bytes == 0

    def test_name_can_be_taken_once(self, store: Store) -> None:
        store.put("a", b"first")
        with pytest.raises(AlreadyThere):
            store.put("a", b"second")
        assert store.get("a") == b"first"

    def test_putting_the_same_bytes_again_is_refused_too(self, store: Store) -> None:
        store.put("a", b"same")
        with pytest.raises(AlreadyThere):
            store.put("a", b"same")

    def test_one_of_many_simultaneous_puts_succeeds(self, store: Store) -> None:
        def attempt(number: int) -> bool:
            try:
                store.put("contended", b"%d" % number)
            except AlreadyThere:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(attempt, range(32)))
        assert outcomes.count(True) == 1
        assert store.get("contended") == b"%d" % outcomes.index(True)

    def test_missing_object_is_not_found(self, store: Store) -> None:
        store.put("folder/object", b"")
        for name in ("absent", "folder", "folder/object/deeper"):
            with pytest.raises(NotFound, match=name):
                store.get(name)
            with pytest.raises(NotFound):
                store.get_range(name, 0, 1)
            with pytest.raises(NotFound):
                store.stat(name)

    def test_a_range_ends_with_the_object(self, store: Store) -> None:
        store.put("a", b"0123456789")
        assert store.get_range("a", 2, 3) == b"234"
        assert store.get_range("a", 8, 100) == b"89"
        assert store.get_range("a", 10, 1) == b""
        assert store.get_range("a", 99, 1) == b""
        assert store.get_range("a", 3, 0) == b""

    @pytest.mark.sampled
    @pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 12_288, 1_500_000])
    def test_range_fills_the_given_memory(self, store: Store, size: int) -> None:
        content = noise(size, size)
        store.put("a", content)
        into = memoryview(mmap.mmap(-1, 8192))
        for start in (0, 5, 4096, 8192, 1_499_136):
            count = store.read_into("a", start, into)
            assert bytes(into[:count]) == content[start : start + 8192]
        for name in ("b", "a/b"):
            with pytest.raises(NotFound):
                store.read_into(name, 0, into)

    def test_a_range_below_zero_is_refused(self, store: Store) -> None:
        store.put("a", b"0123456789")
        with pytest.raises(UsageError):
            store.get_range("a", -1, 2)
        with pytest.raises(UsageError):
            store.get_range("a", 1, -2)

    def test_a_stat_has_size_and_utc_time(self, store: Store) -> None:
        store.put("a", b"12345")
        stat = store.stat("a")
        assert (stat.name, stat.size_bytes) == ("a", 5)
        assert stat.modified.tzinfo is UTC

    def test_object_has_the_lock_of_the_store(self, store: Store) -> None:
        store.put("a", b"")
        lock, given = store.lock_of("a"), store.describe().lock
        if given is None:
            assert lock is None
        else:
            assert lock is not None
            assert (lock.mode, lock.until.tzinfo) == (given.mode, UTC)
            full = store.stat("a").modified + timedelta(days=given.days)
            assert abs(lock.until - full) < timedelta(minutes=5)
        with pytest.raises(NotFound):
            store.lock_of("absent")
        with pytest.raises(UsageError):
            store.lock_of("../a")

    def test_a_listing_is_in_name_order(self, store: Store) -> None:
        names = [
            "a.x",
            "a-b/c",
            "a/b",
            "a/b-c",
            "a/b.c",
            "a/bc/d",
            "a0",
            "b/0000000010",
            "b/0000000009",
        ]
        for name in reversed(names):
            store.put(name, name.encode())
        listed = list(store.list(""))
        assert [stat.name for stat in listed] == sorted(names)
        assert [stat.size_bytes for stat in listed] == [len(name) for name in sorted(names)]

    def test_prefix_is_of_names_not_folders(self, store: Store) -> None:
        for name in ("w/a/p/1", "w/a/s/1", "w/ab/p/1", "x"):
            store.put(name, b"")
        assert [stat.name for stat in store.list("w/a")] == ["w/a/p/1", "w/a/s/1", "w/ab/p/1"]
        assert [stat.name for stat in store.list("w/a/")] == ["w/a/p/1", "w/a/s/1"]
        assert [stat.name for stat in store.list("w/a/p/1")] == ["w/a/p/1"]
        assert list(store.list("nothing/here/")) == []

    @pytest.mark.sampled
    @pytest.mark.parametrize(
        "name", ["", "/a", "a/", "a//b", "../a", "a/../b", "A", "a b", "a\n", ".a", "ä", "a" * 513]
    )
    def test_unstorable_name_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(UsageError):
            store.put(name, b"")

    def test_store_describes_its_protection(self, store: Store) -> None:
        traits = store.describe()
        assert traits.is_write_only == self.is_write_only
        assert len(traits.why) > 10


class KeeperStoreContract(StoreContract):
    """Contract of a store for its keeper, in addition to `StoreContract`."""

    @pytest.fixture
    @abstractmethod
    def store(self) -> KeeperStore: ...

    def test_clock_of_the_store_dates_objects(self, store: KeeperStore) -> None:
        before = store.clock()
        store.put("a", b"")
        after = store.clock()
        assert before.tzinfo is not None
        second = timedelta(seconds=1)  # S3 stores times in whole seconds
        assert before - second <= store.stat("a").modified <= after + second
        assert [stat.name for stat in store.list("")] == ["a"], "asking leaves nothing behind"

    def test_lock_of_missing_object_is_not_found(self, store: KeeperStore) -> None:
        with pytest.raises(NotFound):
            store.lock_until("absent")
        with pytest.raises(NotFound):
            store.extend_lock("absent", datetime.now(UTC) + timedelta(days=1))

    def test_lock_time_without_zone_is_refused(self, store: KeeperStore) -> None:
        store.put("a", b"")
        with pytest.raises(UsageError, match="zone"):
            store.extend_lock("a", datetime(2040, 1, 1))  # noqa: DTZ001 - this is what is refused

    def test_removing_missing_object_is_no_error(self, store: KeeperStore) -> None:
        store.put("folder/object", b"")
        for name in ("absent", "folder/absent", "absent/absent", "folder/object/deeper"):
            store.remove(name)
        assert [stat.name for stat in store.list("")] == ["folder/object"]

    @pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", ".incoming"])
    def test_no_other_name_is_removed(self, store: KeeperStore, name: str) -> None:
        for call in (store.remove, store.lock_until):
            with pytest.raises(UsageError):
                call(name)


class UnlockedContract(KeeperStoreContract):
    """Contract of a store without locks: the keeper removes immediately."""

    def test_only_the_removed_object_is_gone(self, store: KeeperStore) -> None:
        for name in ("a/b", "a/b-c", "a/bc", "d"):
            store.put(name, name.encode())
        assert store.get("a/b") == b"a/b"
        store.remove("a/b")
        store.remove("a/b")
        for call in (store.get, store.stat, store.lock_until):
            with pytest.raises(NotFound):
                call("a/b")
        assert [stat.name for stat in store.list("")] == ["a/b-c", "a/bc", "d"]
        assert store.get("a/b-c") == b"a/b-c"

    def test_a_removed_name_is_free_again(self, store: KeeperStore) -> None:
        store.put("a", b"first")
        store.remove("a")
        store.put("a", b"second")
        assert store.get("a") == b"second"

    def test_nothing_is_locked_and_no_lock_extended(self, store: KeeperStore) -> None:
        store.put("a", b"")
        assert store.describe().lock is None
        assert store.lock_until("a") is None
        with pytest.raises(UsageError, match="lock"):
            store.extend_lock("a", datetime.now(UTC) + timedelta(days=1))


class LockedContract(KeeperStoreContract):
    """Contract of a store with locks: the keeper waits for their end."""

    def test_locked_object_is_not_removed(self, store: KeeperStore) -> None:
        store.put("a", b"kept")
        with pytest.raises(Locked, match=r"a is locked until .*Run again"):
            store.remove("a")
        assert store.get("a") == b"kept"

    def test_a_new_object_has_the_default_lock(self, store: KeeperStore) -> None:
        store.put("a", b"")
        lock, until = store.describe().lock, store.lock_until("a")
        assert lock is not None
        assert until is not None
        assert abs(until - store.clock() - timedelta(days=lock.days)) < timedelta(minutes=5)

    def test_a_lock_becomes_longer_and_never_shorter(self, store: KeeperStore) -> None:
        store.put("a", b"")
        until = (store.clock() + timedelta(days=60)).replace(microsecond=0)
        store.extend_lock("a", until)
        assert store.lock_until("a") == until
        store.extend_lock("a", until - timedelta(days=20))
        store.extend_lock("a", until)
        assert store.lock_until("a") == until
