"""Checks of structure in throwaway servers: constraints, indexes, pages.

A throwaway server is a database server that a test restore (drill) starts, loads and deletes.

Rules
- A constraint or an index that was already invalid in the source server proves nothing about the
  restore. The check is then skipped, with the reason.
- If a base backup was restored and its write-ahead log was replayed, every database of the server
  is checked except templates.
"""

from collections.abc import Iterator
from datetime import datetime

from backup.sources.client_programs import ProgramFailed
from standfast.continuity.recovery_objectives import milliseconds
from standfast.records import Now
from standfast.usecases.drills.check_result import CheckLevel, CheckResult, CheckState
from standfast.usecases.drills.throwaway import Structure, ThrowawayServer
from standfast.usecases.drills.throwaway.postgresql_recovery import RecoveredPostgresql


def check_constraints(
    source: str, server: ThrowawayServer, database: str, clock: Now
) -> CheckResult:
    """Check constraints, foreign keys and indexes of a database."""
    started = clock()
    output = ""
    try:
        structure = server.structure(database)
    except ProgramFailed as error:
        structure, output = Structure(problem="it cannot be queried"), str(error)
    state = CheckState.SKIPPED if structure.unproven else CheckState.PASSED
    if structure.problem:
        state = CheckState.FAILED
    reason = structure.problem or structure.unproven
    return _result(f"constraints of {source}/{database}", state, reason, output, started, clock)


def check_cluster(source: str, server: RecoveredPostgresql, clock: Now) -> Iterator[CheckResult]:
    """Check the constraints of each database of a replayed cluster."""
    started = clock()
    try:
        databases = server.databases()
    except ProgramFailed as error:
        name, reason = f"constraints of {source}", "the databases cannot be listed"
        yield _result(name, CheckState.FAILED, reason, str(error), started, clock)
        return
    for database in databases:
        yield check_constraints(source, server, database, clock)


def check_pages(source: str, server: RecoveredPostgresql, clock: Now) -> CheckResult:
    """Check the pages of all tables and B-tree indexes of a replayed cluster."""
    started = clock()
    state, reason, output = CheckState.PASSED, "", ""
    try:
        if not server.has_amcheck():
            state = CheckState.SKIPPED
            reason = (
                "the extension amcheck is not installed. Install the package postgresql-contrib"
            )
        elif output := server.damaged_pages():
            state, reason = CheckState.FAILED, "pg_amcheck found damaged tables or indexes"
    except ProgramFailed as error:
        # The error may contain names from the source server, which must not be in a signed report.
        state, reason, output = CheckState.SKIPPED, "the pages cannot be checked", str(error)
    return _result(f"pages of {source}", state, reason, output, started, clock)


def _result(
    name: str, state: CheckState, reason: str, output: str, started: datetime, clock: Now
) -> CheckResult:
    return CheckResult(
        name=name,
        service="",
        level=CheckLevel.STRUCTURE,
        state=state,
        reason=reason,
        took_ms=milliseconds(clock() - started),
        output=output,
    )
