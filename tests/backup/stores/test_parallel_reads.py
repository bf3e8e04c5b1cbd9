"""Parallel reads across a network, with results in order."""

import threading
from pathlib import Path

import pytest

from backup.errors import NotFound
from backup.repository import Repository
from backup.stores import Stat
from backup.stores.parallel_reads import read_ahead, run_concurrently, start_in_background
from tests.backup.keep_site import WEEKS, KeptVault, expired_and_marked, kept_site
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import Clock

AT_ONCE = 4
MOST = 2 * 1024 * 1024


class FarStore(MemoryStore):
    """A store in which each read waits for n simultaneous reads."""

    calls_at_once = AT_ONCE

    def __init__(self, meet: int) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._met = threading.Barrier(meet, timeout=120)

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        self.asked.append(name)
        self._met.wait()
        return super()._get_range(name, start, length)


class FarVault(KeptVault):
    calls_at_once = AT_ONCE


def is_wanted(_: Stat) -> bool:
    return True


def test_reads_are_concurrent_and_in_order() -> None:
    store = FarStore(meet=AT_ONCE)
    for number in range(3 * AT_ONCE):
        store.put(f"a/{number:03}", b"%d" % number)
    found = [
        (stat.name, read()) for stat, read in read_ahead(store, store.list("a/"), MOST, is_wanted)
    ]
    assert found == [(f"a/{number:03}", b"%d" % number) for number in range(3 * AT_ONCE)]


def test_read_ahead_is_bounded_by_memory() -> None:
    store = FarStore(meet=1)
    for number in range(40):
        store.put(f"a/{number:03}", bytes(1024 * 1024))
    for given, (_, read) in enumerate(read_ahead(store, store.list("a/"), MOST, is_wanted), 1):
        assert len(read()) == 1024 * 1024
        assert len(store.asked) <= given + 4
    assert len(store.asked) == 40


def test_unwanted_or_large_objects_are_read_on_request() -> None:
    store = FarStore(meet=1)
    store.put("a/1", b"known")
    store.put("a/2", bytes(MOST + 1))
    store.put("a/3", b"new")
    given = list(read_ahead(store, store.list("a/"), MOST, lambda stat: stat.name != "a/1"))
    assert store.asked == ["a/3"]
    assert given[0][1]() == b"known"


def test_missing_object_is_reported_in_its_place() -> None:
    store = FarStore(meet=1)
    for name in ("a/1", "a/2", "a/3"):
        store.put(name, name.encode())
    listed = list(store.list("a/"))
    del store._objects["a/2"]
    found: list[bytes | str] = []
    for stat, read in read_ahead(store, listed, MOST, is_wanted):
        try:
            found.append(read())
        except NotFound:
            found.append(f"{stat.name} is gone")
    assert found == [b"a/1", "a/2 is gone", b"a/3"]


def test_local_store_starts_no_thread() -> None:
    asked_by: set[int] = set()

    class NearStore(MemoryStore):
        def _get_range(self, name: str, start: int, length: int | None) -> bytes:
            asked_by.add(threading.get_ident())
            return super()._get_range(name, start, length)

    store = NearStore()
    store.put("a/1", b"x")
    before = set(threading.enumerate())
    assert [read() for _, read in read_ahead(store, store.list(""), MOST, is_wanted)] == [b"x"]
    assert list(run_concurrently(lambda n: (n, threading.get_ident()), [1], 1)) == [
        (1, threading.get_ident())
    ]
    assert start_in_background(store, lambda: store.get("a/1"))() == b"x"
    assert asked_by == {threading.get_ident()}
    assert before.issuperset(threading.enumerate())


def test_background_call_leaves_no_thread_and_raises() -> None:
    store = FarStore(meet=1)
    before = set(threading.enumerate())
    with pytest.raises(NotFound):
        start_in_background(store, lambda: store.get("a/1"))()
    assert before.issuperset(threading.enumerate())


def test_distant_vault_behaves_like_a_local_one(tmp_path: Path) -> None:
    clock = Clock()
    vault = FarVault(clock)
    kept = kept_site(tmp_path, vault, clock)
    kept.rules = WEEKS
    kept.source.mkdir()
    (kept.source / "kept.wav").write_bytes(b"in every point")
    for _ in range(10):
        kept.next_backup(days=7)
    expired_and_marked(kept)
    near = KeptVault(clock)
    near._objects = vault._objects
    seen = []
    for store in (near, vault):
        repository = Repository.open(store, kept.site.keys, kept.site.identity)
        points = repository.points(with_expired=True)
        seen.append((points, repository.points(), repository.find(["*.wav", "log.txt"], points)))
    assert seen[0] == seen[1]
    assert [len(one) for one in seen[1][:2]] == [10, 6]
    assert {len(row.points) for row in seen[1][2]} == {1, 10}
    kept.days(8)
    result = kept.keep(max_percent=50)
    assert result.removed
    assert {one.pack for one in result.removed} == {one.pack for one in result.dropped}
    kept.check()
