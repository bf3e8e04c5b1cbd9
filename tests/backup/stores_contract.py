"""What every store must do; each store's test subclasses this."""

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import pytest

from backup.errors import AlreadyThere, NotFound, UsageError
from backup.stores import Store


class StoreContract(ABC):
    is_write_only = False  # can who writes there only add?

    @pytest.fixture
    @abstractmethod
    def store(self) -> Store: ...

    def test_what_was_put_comes_back(self, store: Store) -> None:
        store.put("a/b", b"content")
        assert store.get("a/b") == b"content"

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.stat("empty").size_bytes == 0

    def test_a_name_is_taken_once(self, store: Store) -> None:
        store.put("a", b"first")
        with pytest.raises(AlreadyThere):
            store.put("a", b"second")
        assert store.get("a") == b"first"

    def test_putting_the_same_bytes_again_is_refused_too(self, store: Store) -> None:
        store.put("a", b"same")
        with pytest.raises(AlreadyThere):
            store.put("a", b"same")

    def test_of_many_who_put_one_name_one_succeeds(self, store: Store) -> None:
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

    def test_what_is_not_there_is_not_found(self, store: Store) -> None:
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

    def test_a_prefix_is_of_the_name_and_not_of_the_folder(self, store: Store) -> None:
        for name in ("w/a/p/1", "w/a/s/1", "w/ab/p/1", "x"):
            store.put(name, b"")
        assert [stat.name for stat in store.list("w/a")] == ["w/a/p/1", "w/a/s/1", "w/ab/p/1"]
        assert [stat.name for stat in store.list("w/a/")] == ["w/a/p/1", "w/a/s/1"]
        assert [stat.name for stat in store.list("w/a/p/1")] == ["w/a/p/1"]
        assert list(store.list("nothing/here/")) == []

    @pytest.mark.parametrize(
        "name", ["", "/a", "a/", "a//b", "../a", "a/../b", "A", "a b", "a\n", ".a", "ä", "a" * 513]
    )
    def test_a_name_that_no_store_could_keep_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(UsageError):
            store.put(name, b"")

    def test_it_says_what_protects_it(self, store: Store) -> None:
        traits = store.describe()
        assert traits.is_write_only == self.is_write_only
        assert len(traits.why) > 10
