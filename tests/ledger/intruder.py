"""Intruder with the ledger's database, without its keys and witness."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, create_engine, event, select, text, type_coerce
from sqlalchemy.types import NullType

from tests.ledger.ledger_files import Place

Row = dict[str, Any]


class Intruder:
    """A writer of stored values that no rule of the ledger permits."""

    def __init__(self, place: Place) -> None:
        self._engine = create_engine(place.url)

        @event.listens_for(self._engine, "connect")
        def without_care(connection: Any, _record: Any) -> None:
            if place.is_sqlite:
                connection.execute("PRAGMA synchronous = off")
            else:
                # PostgreSQL checks foreign keys by triggers, which the owner of a database can
                # disable.
                connection.execute("SET session_replication_role = replica")
                connection.execute("SET synchronous_commit = off")
                connection.commit()

    def close(self) -> None:
        self._engine.dispose()

    def rows(self, table: Table) -> list[Row]:
        """Return every row as it is stored, in the order of its key."""
        columns = [type_coerce(column, NullType()).label(column.name) for column in table.columns]
        with self._engine.connect() as connection:
            found = connection.execute(select(*columns).order_by(*table.primary_key.columns))
            return [dict(row) for row in found.mappings()]

    def set(self, table: Table, row: Row, *, value: str = ":value", **columns: Any) -> None:
        """Write values into one row; `value` is the SQL around a parameter."""
        settings = ", ".join(
            f'"{name}" = {value.replace(":value", f":set_{name}")}' for name in columns
        )
        bound = {f"set_{name}": new for name, new in columns.items()}
        with self.begin() as connection:
            changed = connection.execute(
                text(f'UPDATE "{table.name}" SET {settings} WHERE {_where(table)}'),
                bound | _key(table, row),
            )
            assert changed.rowcount == 1

    def delete(self, table: Table, row: Row) -> None:
        with self.begin() as connection:
            gone = connection.execute(
                text(f'DELETE FROM "{table.name}" WHERE {_where(table)}'), _key(table, row)
            )
            assert gone.rowcount == 1

    def add(self, table: Table, row: Row) -> None:
        names = ", ".join(f'"{name}"' for name in row)
        bound = ", ".join(f":{name}" for name in row)
        with self.begin() as connection:
            connection.execute(text(f'INSERT INTO "{table.name}" ({names}) VALUES ({bound})'), row)

    def swap(self, table: Table, one: Row, other: Row) -> None:
        """Exchange the values of two rows, except for the key."""
        keys = {column.name for column in table.primary_key.columns}
        self.set(table, one, **{name: v for name, v in other.items() if name not in keys})
        self.set(table, other, **{name: v for name, v in one.items() if name not in keys})

    def run(self, statement: str, **values: Any) -> Sequence[Any]:
        """Run one statement; return its rows, if it has any."""
        with self.begin() as connection:
            result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection


def _where(table: Table) -> str:
    return " AND ".join(f'"{column.name}" = :key_{column.name}' for column in table.primary_key)


def _key(table: Table, row: Row) -> Row:
    return {f"key_{column.name}": row[column.name] for column in table.primary_key}
