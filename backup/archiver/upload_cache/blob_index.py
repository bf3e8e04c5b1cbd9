"""Blob index: the locations of blobs, in sorted runs of records.

- A run of records (not a backup run) is a sorted sequence, stored in a table of SQLite. After a
  pack was stored, the records of its blobs form one run, of level 0. Eight runs of a level are
  merged into one run of the next level. So a record is written once per level, always in order, and
  a lookup searches a few runs.
- A B-tree with one row per blob would take four times as long, and even longer with more blobs. Ids
  are random, so the blobs of each pack would change every page of the tree.
- A blob is in one pack, or in two packs if it continues in the next. A record is valid while every
  pack of its blob is known, that is, listed in the upload cache. The cache forgets a pack that was
  removed from the vault (the folder or bucket with the encrypted backups) or is damaged. Records of
  forgotten packs remain until their run is merged. If they are the majority, all runs are merged.
- During a backup, a merge also keeps the records of packs that this backup has forgotten. The
  backup sends the content of these packs again. With the old records, it recognizes this content,
  and does not report it as new data.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from struct import Struct

from backup.archiver.archiver_records import NO_PACK, BlobLocation

_RECORD = Struct(">32sqIIIIq")  # the id, then the other fields of `BlobLocation` in order
_ID_BYTES = 32
_RECORDS_PER_ROW = 62  # four rows fill a page of the database; `find` searches one row per run
_RUNS_PER_LEVEL = 8
_FEW = 10_000  # up to this number of records of forgotten packs, no merge is done

SCHEMA = """
CREATE TABLE run_of_places (
    number INTEGER PRIMARY KEY,
    level INTEGER NOT NULL,
    size INTEGER NOT NULL       -- records
);
CREATE TABLE places (
    run INTEGER NOT NULL,
    first BLOB NOT NULL,        -- the id of its first record
    records BLOB NOT NULL,      -- sorted
    PRIMARY KEY (run, first)
);
"""
TABLES = ("run_of_places", "places")

IsKnown = Callable[[int], bool]  # returns whether the pack with a number is known


def _accept_any(pack: int) -> bool:
    return True


def find(database: sqlite3.Connection, blob_id: str, is_known: IsKnown) -> BlobLocation | None:
    """Return the location of a blob in known packs, or None."""
    sought = bytes.fromhex(blob_id)
    for (records,) in database.execute(
        "SELECT (SELECT records FROM places WHERE run = number AND first <= ?"
        " ORDER BY first DESC LIMIT 1) FROM run_of_places",
        (sought,),
    ):
        position = -1 if records is None else records.find(sought)
        while position % _RECORD.size and position >= 0:  # skip a match that spans two records
            position = records.find(sought, position + 1)
        if position >= 0:
            location = _location(records[position : position + _RECORD.size])
            if _is_in_known_packs(location, is_known):
                return location
    return None


def has(database: sqlite3.Connection, blob_id: str) -> bool:
    """Return whether a blob has a record, even if its packs are forgotten."""
    return find(database, blob_id, _accept_any) is not None


def count(database: sqlite3.Connection) -> int:
    """Return the number of records, including those of forgotten packs."""
    (found,) = database.execute("SELECT COALESCE(SUM(size), 0) FROM run_of_places").fetchone()
    return int(found)


def ids(database: sqlite3.Connection) -> Iterator[str]:
    """Yield the id of each record, in hexadecimal."""
    step = 2 * _RECORD.size
    for (records,) in database.execute("SELECT records FROM places"):
        digits = records.hex()
        for position in range(0, len(digits), step):
            yield digits[position : position + 2 * _ID_BYTES]


def add(
    database: sqlite3.Connection,
    locations: Iterable[BlobLocation],
    is_known: IsKnown,
    was_known: IsKnown | None = None,
) -> None:
    """Add the blobs with their last byte in a new pack; merge runs if due.

    The caller has begun a transaction. A merge keeps only the records of packs for which `is_known`
    or `was_known` is true. `was_known` selects the packs that this backup has forgotten.
    """
    pack = _RECORD.pack
    records = sorted(
        [
            pack(bytes.fromhex(id_), number, offset, stored, inner, length, next_pack)
            for number, offset, stored, inner, length, id_, next_pack in locations
        ]
    )
    if not records:
        return
    _write(database, 0, records)
    level = 0
    while len(runs := _runs(database, level)) >= _RUNS_PER_LEVEL:
        level += 1
        _merge(database, runs, level, is_known, was_known)


def tidy(database: sqlite3.Connection, known: int, is_known: IsKnown) -> None:
    """Merge all runs if most records are of forgotten packs.

    `known` is the number of records of known packs, which a merge keeps.
    """
    if count(database) > 2 * known + _FEW:
        (highest,) = database.execute("SELECT MAX(level) FROM run_of_places").fetchone()
        _merge(database, _runs(database), highest, is_known)


def _runs(database: sqlite3.Connection, level: int | None = None) -> list[int]:
    rows = database.execute(
        "SELECT number FROM run_of_places WHERE level = ifnull(?, level)", (level,)
    )
    return [number for (number,) in rows]


def _merge(
    database: sqlite3.Connection,
    runs: list[int],
    level: int,
    is_known: IsKnown,
    was_known: IsKnown | None = None,
) -> None:
    merged = heapq.merge(*(_records(database, run) for run in runs))
    if was_known is None:
        kept = _only_known(merged, is_known)
    else:
        kept = _known_now_or_before(merged, is_known, was_known)
    _write(database, level, kept)
    numbers = [(run,) for run in runs]
    database.executemany("DELETE FROM places WHERE run = ?", numbers)
    database.executemany("DELETE FROM run_of_places WHERE number = ?", numbers)


def _records(database: sqlite3.Connection, run: int) -> Iterator[bytes]:
    for (records,) in database.execute(
        "SELECT records FROM places WHERE run = ? ORDER BY first", (run,)
    ):
        for position in range(0, len(records), _RECORD.size):
            yield records[position : position + _RECORD.size]


def _only_known(records: Iterable[bytes], is_known: IsKnown) -> Iterator[bytes]:
    """Yield the records of blobs in known packs, one record per id."""
    before = b""
    for record in records:
        if record[:_ID_BYTES] != before and _is_in_known_packs(_location(record), is_known):
            before = record[:_ID_BYTES]
            yield record


def _known_now_or_before(
    records: Iterable[bytes], is_known: IsKnown, was_known: IsKnown
) -> Iterator[bytes]:
    """Yield one record per id; prefer known packs to forgotten packs."""
    for _, group in groupby(records, key=lambda record: record[:_ID_BYTES]):
        locations = [(record, _location(record)) for record in group]
        for is_kept in (is_known, was_known):
            kept = next(
                (record for record, location in locations if _is_in_known_packs(location, is_kept)),
                None,
            )
            if kept is not None:
                yield kept
                break


def _write(database: sqlite3.Connection, level: int, records: Iterable[bytes]) -> None:
    """Write sorted records as one run."""
    number = database.execute(
        "INSERT INTO run_of_places (level, size) VALUES (?, 0)", (level,)
    ).lastrowid
    source = iter(records)
    size = 0
    while row := b"".join(islice(source, _RECORDS_PER_ROW)):
        size += len(row) // _RECORD.size
        database.execute("INSERT INTO places VALUES (?, ?, ?)", (number, row[:_ID_BYTES], row))
    database.execute("UPDATE run_of_places SET size = ? WHERE number = ?", (size, number))


def _location(record: bytes) -> BlobLocation:
    id_, pack, offset, stored, inner, length, next_pack = _RECORD.unpack(record)
    return BlobLocation(pack, offset, stored, inner, length, id_.hex(), next_pack)


def _is_in_known_packs(location: BlobLocation, is_known: IsKnown) -> bool:
    return is_known(location.pack) and (location.next == NO_PACK or is_known(location.next))
