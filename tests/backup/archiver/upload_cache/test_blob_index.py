"""Index of blob locations in sorted runs: the last entry wins; removals."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.archiver.archiver_records import NO_PACK, BlobLocation
from backup.archiver.upload_cache import blob_index


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(_empty()) as database:
        yield database


def _empty() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(blob_index.SCHEMA)
    return database


def _id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _places(pack: int, *numbers: int, following: int = NO_PACK) -> list[BlobLocation]:
    return [BlobLocation(pack, n % 7, n + 1, n % 5, n % 3, _id(n), following) for n in numbers]


def _is_any(pack: int) -> bool:
    return pack >= 0


def _shape(database: sqlite3.Connection) -> list[tuple[int, int]]:
    """Return the level and size of each run, the oldest first."""
    return database.execute("SELECT level, size FROM run_of_places ORDER BY number").fetchall()


def test_added_blobs_and_no_others_are_found(database: sqlite3.Connection) -> None:
    added = [place for pack in range(5) for place in _places(pack, *range(pack, 1000, 5))]
    for pack in range(5):
        blob_index.add(database, [p for p in added if p.pack == pack], _is_any)
    assert [blob_index.find(database, place.id, _is_any) for place in added] == added
    assert blob_index.count(database) == len(added)
    assert sorted(blob_index.ids(database)) == sorted(place.id for place in added)
    absent = [_id(number) for number in range(1000, 1200)] + ["00" * 32, "ff" * 32]
    assert {blob_index.find(database, blob_id, _is_any) for blob_id in absent} == {None}


def test_id_across_two_records_is_not_found(database: sqlite3.Connection) -> None:
    whole = BlobLocation(0, 0, 0x41424344, 0, 0, "aa" * 32, 0x4546)
    blob_index.add(database, [whole, *_places(1, *range(10))], _is_any)
    (record,) = database.execute("SELECT records FROM places").fetchone()
    across = record[20:52].hex()
    assert blob_index.find(database, across, _is_any) is None
    twin = whole._replace(pack=2, id=across)
    blob_index.add(database, [twin], _is_any)
    assert blob_index.find(database, across, _is_any) == twin


def test_runs_are_merged_when_a_level_has_eight(database: sqlite3.Connection) -> None:
    for pack in range(8 * 8 + 3):
        blob_index.add(database, _places(pack, *range(pack * 100, pack * 100 + 100)), _is_any)
    assert _shape(database) == [(2, 6400), (0, 100), (0, 100), (0, 100)]
    for number in range(6700):
        found = blob_index.find(database, _id(number), _is_any)
        assert found == _places(number // 100, number)[0]


def test_merge_keeps_blobs_of_its_pack(
    database: sqlite3.Connection,
) -> None:
    known: set[int] = set()
    for pack in range(8):
        is_known = (known | {pack}).__contains__
        blob_index.add(database, _places(pack, pack), is_known)
        known.add(pack)
    assert _shape(database) == [(1, 8)]


def test_blob_is_gone_with_either_of_its_packs(database: sqlite3.Connection) -> None:
    blob_index.add(database, _places(1, 10, following=2) + _places(2, 11), _is_any)
    assert blob_index.find(database, _id(10), {1, 2}.__contains__) is not None
    assert blob_index.find(database, _id(10), {1}.__contains__) is None
    assert blob_index.find(database, _id(10), {2}.__contains__) is None
    assert blob_index.find(database, _id(11), {2}.__contains__) is not None


def test_blob_sent_again_is_found_in_known_pack(
    database: sqlite3.Connection,
) -> None:
    for pack in range(8):  # the last pack causes a merge
        blob_index.add(database, _places(pack, 10, 100 + pack), {3, 5, 7}.__contains__)
    assert _shape(database) == [(1, 4)], "an id once, and nothing of packs that are gone"
    found = blob_index.find(database, _id(10), {3, 5, 7}.__contains__)
    assert found is not None
    assert found.pack in {3, 5, 7}


def test_forgotten_packs_are_dropped_when_they_are_most(
    database: sqlite3.Connection,
) -> None:
    for pack in range(3):
        blob_index.add(database, _places(pack, *range(pack * 9000, pack * 9000 + 9000)), _is_any)
    blob_index.tidy(database, 9000, {1}.__contains__)
    assert _shape(database) == [(0, 9000), (0, 9000), (0, 9000)], "it is not worth it yet"
    blob_index.tidy(database, 8000, {1}.__contains__)
    assert _shape(database) == [(0, 9000)]
    assert blob_index.find(database, _id(9000), {1}.__contains__) == _places(1, 9000)[0]
    blob_index.add(database, _places(4, 1), _is_any)
    assert blob_index.find(database, _id(1), _is_any) == _places(4, 1)[0]


@given(
    steps=st.lists(st.tuples(st.sets(st.integers(0, 300), max_size=90), st.booleans()), max_size=30)
)
def test_index_equals_a_dictionary(steps: list[tuple[set[int], bool]]) -> None:
    known: set[int] = set()
    expected: dict[int, int] = {}  # the last pack of each blob
    with closing(_empty()) as database:
        for pack, (numbers, is_forgotten) in enumerate(steps):
            sent = [number for number in numbers if expected.get(number) not in known]
            known.add(pack)
            blob_index.add(database, _places(pack, *sent), known.__contains__)
            expected |= dict.fromkeys(sent, pack)
            if is_forgotten:
                known.discard(pack - 1)
        for number in range(301):
            found = blob_index.find(database, _id(number), known.__contains__)
            sent_with = expected.get(number)
            assert found == (_places(sent_with, number)[0] if sent_with in known else None)


def test_merges_keep_recognized_packs(database: sqlite3.Connection) -> None:
    def is_new(pack: int) -> bool:
        return pack > 0

    def is_old(pack: int) -> bool:
        return pack == 0

    blob_index.add(database, _places(0, *range(100)), _is_any)
    for pack in range(1, 65):  # enough for two levels of merges
        blob_index.add(database, _places(pack, pack), is_new, is_old)
    again, gone = _id(7), _id(90)
    assert blob_index.find(database, again, is_new) == _places(7, 7)[0]
    assert blob_index.find(database, gone, is_new) is None
    assert blob_index.has(database, gone)
    assert not blob_index.has(database, _id(200))


def test_merges_drop_unrecognized_packs(database: sqlite3.Connection) -> None:
    blob_index.add(database, _places(0, *range(100)), _is_any)
    for pack in range(1, 9):
        blob_index.add(database, _places(pack, 200 + pack), lambda pack: pack > 0)
    assert not blob_index.has(database, _id(90))
