"""Checks of one loaded database: missing rows, assertions, newest change.

Rules
- The reason of a failed check contains only counts and names of tables, because the result of a
  query may be personal data.
- The number of rows is compared with the number in the last good drill (test restore). When a dump
  is loaded, `database_load` compares the loaded rows with the dump. But only an earlier drill can
  show that rows were already missing when the dump was made.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Protocol

from backup.sources.client_programs import ProgramFailed
from standfast.config.sections.services import DatabaseCheckConfig
from standfast.plurals import counted
from standfast.records import utc
from standfast.usecases.drills.check_result import CheckFinding
from standfast.usecases.drills.throwaway import ThrowawayServer


class QueriedServer(Protocol):
    """A server with a restored database."""

    def value(self, sql: str, database: str) -> str:
        """Return the only value of a query; raise `ProgramFailed` on an error."""

    def row_count(self, table: str, database: str) -> int:
        """Count the rows of a table; raise `ProgramFailed` if it is missing."""


_TRUE = {"t", "1"}  # the text of TRUE in PostgreSQL, in MariaDB


def check_database(
    check: DatabaseCheckConfig, server: QueriedServer, earlier: Mapping[str, int]
) -> CheckFinding:
    """Check the rows, the assertions and the newest change of a database.

    `earlier` has the row counts of the last good drill, by `source/database/table`.
    """
    database = check.database
    try:
        server.value("SELECT 1", database)
        if isinstance(server, ThrowawayServer):  # never change a setting of a production server
            server.limit_statements(check.timeout_seconds, database)
    except ProgramFailed as error:
        return CheckFinding(problem="the database was not loaded", output=str(error))
    rows: dict[str, int] = {}
    problems = [*_missing_rows(check, server, earlier, rows), *_failed_assertions(check, server)]
    last_change = None
    if check.last_change is not None:
        try:
            last_change = parse_moment(server.value(check.last_change, database))
        except ProgramFailed as error:
            return CheckFinding(problem="the last_change query failed", output=str(error))
        if last_change is None:
            problems.append("the last_change query returned no time")
    return CheckFinding(problem="; ".join(problems), last_change=last_change, rows=rows)


def _missing_rows(
    check: DatabaseCheckConfig,
    server: QueriedServer,
    earlier: Mapping[str, int],
    rows: dict[str, int],
) -> Iterator[str]:
    """Yield the tables with too few rows; add all counts to `rows`."""
    for table, minimum in check.minimum_rows.items():
        try:
            count = server.row_count(table, check.database)
        except ProgramFailed:
            limit = f"{check.timeout_seconds:g} s"
            yield f"table {table} does not exist, or is not counted within {limit}"
            continue
        name = f"{check.source}/{check.database}/{table}"
        rows[name] = count
        if count < minimum:
            yield f"table {table} has {counted(count, 'row')}, at least {minimum:,} were expected"
        before, loss = earlier.get(name, 0), check.maximum_loss_percent
        if loss is not None and count * 100 < before * (100 - loss):
            yield f"table {table} has {counted(count, 'row')}, the last good drill had {before:,}"


def _failed_assertions(check: DatabaseCheckConfig, server: QueriedServer) -> Iterator[str]:
    for number, assertion in enumerate(check.assertions, 1):
        try:
            is_true = server.value(assertion, check.database) in _TRUE
        except ProgramFailed:
            yield f"assertion {number} cannot be run within {check.timeout_seconds:g} s"
            continue
        if not is_true:
            yield f"assertion {number} is false"


def parse_moment(value: object) -> datetime | None:
    """Parse ISO 8601 text, UTC by default, or Unix seconds; None if invalid."""
    try:
        if isinstance(value, str) and value.replace(".", "", 1).isdigit():
            value = float(value)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
