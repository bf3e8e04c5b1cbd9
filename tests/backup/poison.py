"""An upload cache with entries that a compromised host changed."""

import sqlite3
from contextlib import closing
from pathlib import Path
from struct import Struct

_RECORD = Struct(">32sqIIIIq")  # id, pack, offset, stored, inner, length, next


def poison(send_log: Path) -> None:
    """Shift blobs by one byte in their frames, and forget every reused page."""
    changed = False
    with closing(sqlite3.connect(send_log)) as log, log:
        for row, records in log.execute("SELECT rowid, records FROM places").fetchall():
            log.execute("UPDATE places SET records = ? WHERE rowid = ?", (_shifted(records), row))
            changed |= _shifted(records) != records
        log.execute("DELETE FROM page")
    assert changed


def _shifted(records: bytes) -> bytes:
    found = bytearray()
    for id_, pack, offset, stored, inner, length, following in _RECORD.iter_unpack(records):
        inner += length > 100
        found += _RECORD.pack(id_, pack, offset, stored, inner, length, following)
    return bytes(found)
