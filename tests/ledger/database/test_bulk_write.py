"""Bulk writes keep nothing of a closed ledger."""

import gc
import weakref

from tests.ledger.ledger_files import Place
from tests.ledger.stage import open_incident


def test_closed_ledgers_leave_memory(sqlite_place: Place) -> None:
    sqlite_place.create()
    dialects = []
    for _ in range(4):
        with sqlite_place.opened() as ledger:
            open_incident(ledger)
            dialects.append(weakref.ref(ledger.engine.dialect))
        del ledger
    gc.collect()
    # Statements that were built once may keep the dialect that compiled them first.
    assert sum(dialect() is not None for dialect in dialects) <= 1
