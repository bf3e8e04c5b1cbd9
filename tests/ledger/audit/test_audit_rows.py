"""Detection of each value of a database that an intruder changed.

The rows are those of a whole incident (`story`); the changes are generated from the tables. Each
change is reverted, and at the end the ledger is whole, so each finding had a cause. One column is
changed in all rows of its table at once, and exactly these rows must be named; a key, by which a
row is named, is changed in one row at a time.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pytest
from sqlalchemy import Column, Table
from sqlalchemy.types import Boolean, Integer, LargeBinary

from standfast.ledger import Ledger
from standfast.ledger.audit.auditor import AuditReport
from standfast.ledger.schema.tables import CHAIN, Moment, metadata
from tests.ledger import story
from tests.ledger.intruder import Intruder, Row
from tests.sampling import sample

every_table = pytest.mark.parametrize(
    "table", [pytest.param(table, id=table.name) for table in metadata.sorted_tables]
)
_CALLED = {"audit_event": "event", "audit_head": "head"}


@dataclass(frozen=True)
class Change:
    """Value for one column of one row, and the SQL that writes it."""

    row: Row
    value: Any
    sql: str = ":value"


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """A ledger that contains a whole incident."""
    story.tell(ledger)
    return ledger


@pytest.fixture
def sqlite_told(sqlite_ledger: Ledger) -> Ledger:
    """The same ledger, for changes that only SQLite permits."""
    story.tell(sqlite_ledger)
    return sqlite_ledger


def test_sample_history_fills_every_table_and_verifies(told: Ledger, intruder: Intruder) -> None:
    assert [table.name for table in metadata.sorted_tables if not intruder.rows(table)] == []
    report = told.audit.verify()
    assert report.findings == ()
    assert (report.heads, report.witnessed) == (3, 3)
    assert report.rows == sum(
        len(intruder.rows(table)) for table in metadata.sorted_tables if table.name not in CHAIN
    )


def test_changed_value_in_any_column_is_named(told: Ledger, intruder: Intruder) -> None:
    for table, column in sample(list(_all_columns()), "columns with another value"):
        changes = [Change(row, _another(column, row[column.name])) for row in intruder.rows(table)]
        _assert_each_is_named(told, intruder, column, changes)
    assert told.audit.verify().is_whole


@pytest.mark.sampled
@every_table
def test_changed_type_in_any_column_is_named(
    sqlite_told: Ledger, sqlite_intruder: Intruder, table: Table
) -> None:
    """SQLite stores a value of any type in a column of any type."""
    for column in table.columns:
        if _is_rowid(column):
            continue  # the only column in which SQLite requires an integer
        rows = sqlite_intruder.rows(table)
        of_each_row = (
            [Change(row, *other) for other in _of_other_types(row[column.name])] for row in rows
        )
        for changes in zip_longest(*of_each_row):
            there = [change for change in changes if change is not None]
            _assert_each_is_named(sqlite_told, sqlite_intruder, column, there)
    assert sqlite_told.audit.verify().is_whole


def test_removed_value_is_named(told: Ledger, intruder: Intruder) -> None:
    nullable = [(table, column) for table, column in _all_columns() if column.nullable]
    for table, column in sample(nullable, "columns with a value taken away"):
        rows = [row for row in intruder.rows(table) if row[column.name] is not None]
        _assert_each_is_named(told, intruder, column, [Change(row, None) for row in rows])
    assert told.audit.verify().is_whole


def test_any_row_that_was_deleted_is_named(told: Ledger, intruder: Intruder) -> None:
    for table, row in sample(list(_all_rows(intruder)), "deleted rows"):
        intruder.delete(table, row)
        _assert_names(told.audit.verify(), table, row)
        intruder.add(table, row)
    assert told.audit.verify().is_whole


def test_a_row_that_was_added_is_named(told: Ledger, intruder: Intruder) -> None:
    for table in metadata.sorted_tables:
        key = list(table.primary_key.columns)[-1]
        row = intruder.rows(table)[-1]
        added = row | {key.name: _another(key, row[key.name])}
        intruder.add(table, added)
        _assert_names(told.audit.verify(), table, added)
        intruder.delete(table, added)
    assert told.audit.verify().is_whole


def test_two_rows_that_were_swapped_are_both_named(told: Ledger, intruder: Intruder) -> None:
    swapped = []
    for table in metadata.sorted_tables:
        one, *rows = intruder.rows(table)
        held = [column.name for column in table.columns if not column.primary_key]
        # If both rows are equal apart from their keys, a swap changes nothing.
        others = [row for row in rows if any(row[name] != one[name] for name in held)]
        if others:
            intruder.swap(table, one, others[0])
            for row in (one, others[0]):
                _assert_names(told.audit.verify(), table, row)
                intruder.set(table, row, **row)
            swapped.append(table.name)
    assert set(swapped) >= {"audit_event", "audit_head", "person", "step", "attempt", "effect"}
    assert told.audit.verify().is_whole


def _all_rows(intruder: Intruder) -> Iterator[tuple[Table, Row]]:
    for table in metadata.sorted_tables:
        for row in intruder.rows(table):
            yield table, row


def _all_columns() -> Iterator[tuple[Table, Column[Any]]]:
    for table in metadata.sorted_tables:
        for column in table.columns:
            yield table, column


def _assert_each_is_named(
    ledger: Ledger, intruder: Intruder, column: Column[Any], changes: Sequence[Change]
) -> None:
    table = column.table
    assert isinstance(table, Table)
    if column.primary_key:
        for change in changes:
            with _changed(intruder, table, column.name, [change]):
                _assert_names(ledger.audit.verify(), table, change.row)
        return
    with _changed(intruder, table, column.name, changes):
        report = ledger.audit.verify()
    told = {finding.where for finding in report.findings}
    names = {_name(table, change.row) for change in changes}
    assert names <= told if table.name in CHAIN else names == told, (column, told)


@contextmanager
def _changed(
    intruder: Intruder, table: Table, name: str, changes: Sequence[Change]
) -> Iterator[None]:
    """Change one column inside the block; yield its values afterwards."""
    for change in changes:
        intruder.set(table, change.row, value=change.sql, **{name: change.value})
    yield
    for change in changes:
        if table.columns[name].primary_key:
            intruder.run(
                f'UPDATE "{table.name}" SET "{name}" = :before '
                f'WHERE "{name}" = {change.sql.replace(":value", ":now")}',
                before=change.row[name],
                now=change.value,
            )
        else:
            intruder.set(table, change.row, **{name: change.row[name]})


def _assert_names(report: AuditReport, table: Table, row: Row) -> None:
    """Assert that a finding names the row, or a lost link's neighbour."""
    name = _name(table, row)
    told = [f"{finding.where}: {finding.problem}" for finding in report.findings]
    if table.name in CHAIN:
        named = any(re.search(rf"\b{name}\b", line) for line in told)
    else:
        named = any(line.startswith(f"{name}: ") for line in told)
    assert named, f"{name} is not in {told}"


def _name(table: Table, row: Row) -> str:
    key = "/".join(str(row[column.name]) for column in table.primary_key)
    return f"{_CALLED.get(table.name, table.name)} {key}"


def _another(column: Column[Any], value: Any) -> Any:
    """Return another value of the same type that fits the column."""
    kind = column.type
    if isinstance(kind, Moment):
        return "2026-01-01T00:00:00.000000Z" if value is None else f"1{value[1:]}"
    if isinstance(kind, Boolean):
        return not value
    if isinstance(kind, Integer):
        return (value or 0) + 1000
    if isinstance(kind, LargeBinary):
        return bytes([value[0] ^ 1]) + value[1:] if value else b"x"
    return ("y" if value[0] == "x" else "x") + value[1:] if value else "x"


def _of_other_types(value: Any) -> Iterator[tuple[Any, str]]:
    yield b"\xff\x00", ":value"
    yield b"\xff", "CAST(:value AS TEXT)"  # text that is not UTF-8
    if isinstance(value, bytes):
        yield value.hex(), ":value"
        yield value.hex(), "CAST(:value AS TEXT)"
    elif isinstance(value, str):
        yield value.encode(), ":value"
    else:
        yield 10**12, ":value"
    yield 1.5, ":value"


def _is_rowid(column: Column[Any]) -> bool:
    return column.table.name in CHAIN and column.primary_key
