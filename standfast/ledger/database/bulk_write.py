"""Inserts and updates of many rows with one driver statement.

SQLAlchemy converts each value of each row, which takes longer than the work of the database. This
module compiles the statement once, and converts only the columns whose type requires it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import URL, Connection, Dialect, LargeBinary, Table, bindparam, insert, update
from sqlalchemy.sql.dml import Insert, Update

Values = Mapping[str, Any]
_Converter = Callable[[Any], Any] | None
_ROWS_A_STATEMENT = 50  # a row has about twenty values; a longer statement is slow to parse


def insert_many(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Add rows, each with the same columns."""
    names = tuple(rows[0])
    bound = {name: name for name in names}
    _run(connection, table, _insert(table, names), bound, rows)


def insert_missing(
    connection: Connection, table: Table, rows: Sequence[Values]
) -> list[Sequence[Any]]:
    """Insert the rows with a new key; return the inserted rows as stored."""
    names = tuple(rows[0])
    backend = _backend(connection)
    converters = [_converter(table, name, backend) for name in names]
    columns = list(zip(names, converters, strict=True))
    added: list[Sequence[Any]] = []
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        part = rows[start : start + _ROWS_A_STATEMENT]
        values = [
            row[name] if convert is None else convert(row[name])
            for row in part
            for name, convert in columns
        ]
        statement = _insert_missing(table, names, len(part), backend)
        added += connection.exec_driver_sql(statement, tuple(values)).all()
    return added


def change_many(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Update rows, each given as its key and the same columns to set."""
    keys = {column.name for column in table.primary_key.columns}
    bound = {f"key_{name}" if name in keys else f"set_{name}": name for name in rows[0]}
    _run(connection, table, _change(table, tuple(rows[0])), bound, rows)


def _run(
    connection: Connection,
    table: Table,
    statement: Insert | Update,
    bound: Mapping[str, str],  # parameter of the statement → column that supplies its value
    rows: Sequence[Values],
) -> None:
    backend = _backend(connection)
    sql, order = _compile(statement, backend)
    names = order or tuple(bound)
    converters = [_converter(table, bound[name], backend) for name in names]
    columns = list(zip([bound[name] for name in names], converters, strict=True))
    given = [
        tuple(
            [
                row[column] if convert is None else convert(row[column])
                for column, convert in columns
            ]
        )
        for row in rows
    ]
    if order is None:
        named = [dict(zip(names, values, strict=True)) for values in given]
        connection.exec_driver_sql(sql, named)
    else:
        connection.exec_driver_sql(sql, given)


def _backend(connection: Connection) -> str:
    """Return dialect and driver of a connection: `sqlite+pysqlite`.

    This is the key of the cached statements. Each engine has its own dialect object: as a key, it
    would keep closed engines in memory.
    """
    return f"{connection.dialect.name}+{connection.dialect.driver}"


@cache
def _dialect(backend: str) -> Dialect:
    return URL.create(backend).get_dialect()()


@cache
def _insert(table: Table, columns: tuple[str, ...]) -> Insert:
    return insert(table).values({name: bindparam(name) for name in columns})


@cache
def _insert_missing(table: Table, names: tuple[str, ...], rows: int, backend: str) -> str:
    dialect = _dialect(backend)
    quoted = dialect.identifier_preparer.quote
    place = "?" if dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([place] * len(names))})"
    return (
        f"INSERT INTO {quoted(table.name)} ({', '.join(map(quoted, names))}) "  # noqa: S608 - ours
        f"VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING "
        f"RETURNING {', '.join(quoted(column.name) for column in table.columns)}"
    )


@cache
def _change(table: Table, columns: tuple[str, ...]) -> Update:
    """Return the statement that updates the columns of a row by its key."""
    keys = [column == bindparam(f"key_{column.name}") for column in table.primary_key.columns]
    settings: dict[str, Any] = {
        name: bindparam(f"set_{name}") for name in columns if name not in table.primary_key.columns
    }
    return update(table).where(*keys).values(settings)


@cache
def _compile(statement: Insert | Update, backend: str) -> tuple[str, tuple[str, ...] | None]:
    """Return the driver's statement and the order of positional values."""
    compiled = statement.compile(dialect=_dialect(backend))
    order = getattr(compiled, "positiontup", None)
    return str(compiled), tuple(order) if order else None


@cache
def _converter(table: Table, column: str, backend: str) -> _Converter:
    """Return the function that converts a column's values for the driver.

    None: the driver accepts the values unchanged.
    """
    column_type = table.columns[column].type
    if isinstance(column_type, LargeBinary):
        return None  # both drivers accept bytes unchanged
    dialect = _dialect(backend)
    return column_type.dialect_impl(dialect).bind_processor(dialect)
