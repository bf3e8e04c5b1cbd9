"""Checks that a service declares: SQLite, databases, probe commands.

Rules
- A restored SQLite database is opened read-only and without locks: a check changes no restored
  file.
- A probe is a command of the configuration that uses the restored service. It runs without a shell,
  in the folder of the restored files. Its environment has the addresses of the throwaway database
  servers, and no secret of this process. If it does not end in time, it is killed together with the
  processes that it started.
- A service may use several backup sets. A check of a set that was not restored is skipped.
- The reason of a failed check contains only counts and classes of errors, because the output of a
  query or a probe may be personal data. The last part of a failed probe's output is returned
  separately, for the person who runs the drill (the test restore).
"""

import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

from standfast.config.sections.services import (
    CheckConfig,
    CommandCheckConfig,
    DatabaseCheckConfig,
    ServiceConfig,
    SqliteCheckConfig,
)
from standfast.continuity.recovery_objectives import milliseconds
from standfast.continuity.service_order import recovery_order
from standfast.plurals import counted
from standfast.records import Now
from standfast.usecases.drills.check_result import CheckFinding, CheckLevel, CheckResult, CheckState
from standfast.usecases.drills.database_checks import QueriedServer, check_database, parse_moment

_OUTPUT_BYTES = 16 * 1024
_OUTPUT_SECONDS = 1.0
_FOR_ANOTHER_SET = "it belongs to another set of this service"
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")


class CheckedDatabases(Protocol):
    """The servers with the restored databases, by name of the source."""

    @property
    def servers(self) -> Mapping[str, QueriedServer]: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def earlier_rows(self) -> Mapping[str, int]: ...
    def reason_missing(self, source: str) -> str: ...


def services_of_set(
    services: Mapping[str, ServiceConfig], set_name: str
) -> dict[str, ServiceConfig]:
    """Return the services that use a backup set, in their order of recovery."""
    order = [name for wave in recovery_order(services) for name in wave]
    return {name: services[name] for name in order if set_name in services[name].sets}


def run_checks(
    name: str,
    service: ServiceConfig,
    tree: Path,
    sources: frozenset[str],
    databases: CheckedDatabases,
    clock: Now,
) -> tuple[CheckResult, ...]:
    """Run all checks of a service in order, even if one of them fails."""
    return tuple(_run(check, name, tree, sources, databases, clock) for check in service.checks)


def _run(
    check: CheckConfig,
    service: str,
    tree: Path,
    sources: frozenset[str],
    databases: CheckedDatabases,
    clock: Now,
) -> CheckResult:
    result = CheckResult(
        name=_title(check), service=service, level=_level(check), state=CheckState.SKIPPED
    )
    started = clock()
    match check:
        case SqliteCheckConfig(path=path) if path.parts[0] not in sources:
            return replace(result, reason=_FOR_ANOTHER_SET, is_for_another_set=True)
        case DatabaseCheckConfig(source=source) if source not in sources:
            return replace(result, reason=_FOR_ANOTHER_SET, is_for_another_set=True)
        case DatabaseCheckConfig(source=source) if source not in databases.servers:
            return replace(result, reason=databases.reason_missing(source))
        case SqliteCheckConfig():
            found = _check_sqlite(check, tree)
        case DatabaseCheckConfig():
            found = check_database(check, databases.servers[check.source], databases.earlier_rows)
        case CommandCheckConfig():
            found = _check_command(check, tree, databases.environment)
    return replace(
        result,
        state=CheckState.FAILED if found.problem else CheckState.PASSED,
        reason=found.problem,
        took_ms=milliseconds(clock() - started),
        last_change=found.last_change,
        output=found.output,
        rows=found.rows,
    )


def _level(check: CheckConfig) -> CheckLevel:
    is_probe = isinstance(check, CommandCheckConfig)
    return CheckLevel.SERVICE if is_probe else CheckLevel.CONTENT


def read_only(path: Path) -> str:
    """Return the SQLite address that opens a database read-only.

    SQLite creates no file next to the database, except an index file if a write-ahead log was
    restored with the database.
    """
    wal = path.with_name(path.name + "-wal")
    way = "mode=ro" if wal.exists() else "mode=ro&immutable=1"
    return f"file:{quote(os.fsencode(path.absolute()))}?{way}"


def quoted(name: str) -> str:
    """Quote the name of a table for SQLite."""
    return '"' + name.replace('"', '""') + '"'


def _title(check: CheckConfig) -> str:
    if isinstance(check, SqliteCheckConfig):
        return f"sqlite {check.path}"
    if isinstance(check, DatabaseCheckConfig):
        return f"database {check.source}/{check.database}"
    # Show only the program: its arguments may contain personal data.
    return f"command {PurePosixPath(check.command[0]).name}"


def _check_sqlite(check: SqliteCheckConfig, tree: Path) -> CheckFinding:
    path = tree / check.path
    if not path.is_file():
        return CheckFinding(problem="the database file is not in the restored tree")
    try:
        with closing(sqlite3.connect(read_only(path), uri=True)) as database:
            damage = database.execute("PRAGMA integrity_check(100)").fetchall()
            if damage != [("ok",)]:
                return CheckFinding(
                    problem=f"integrity_check found {counted(len(damage), 'problem')}"
                )
            problems = list(_missing_rows(database, check.minimum_rows))
            last_change = None
            if check.last_change is not None:
                row = database.execute(check.last_change).fetchone()
                last_change = parse_moment(row[0] if row else None)
                if last_change is None:
                    problems.append("the last_change query returned no time")
    except sqlite3.Error as error:
        return CheckFinding(problem=f"SQLite cannot read it ({type(error).__name__})")
    return CheckFinding(problem="; ".join(problems), last_change=last_change)


def _missing_rows(database: sqlite3.Connection, least: Mapping[str, int]) -> list[str]:
    problems = []
    for table, minimum in least.items():
        try:
            query = f"SELECT count(*) FROM {quoted(table)}"  # noqa: S608 - a quoted name
            (count,) = database.execute(query).fetchone()
        except sqlite3.OperationalError:
            problems.append(f"table {table} does not exist")
        else:
            if count < minimum:
                problems.append(
                    f"table {table} has {counted(count, 'row')}, at least {minimum:,} were expected"
                )
    return problems


def _check_command(check: CommandCheckConfig, tree: Path, more: Mapping[str, str]) -> CheckFinding:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment = {**kept, **more}
    try:
        probe = subprocess.Popen(
            check.command,
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return CheckFinding(problem=f"the command cannot be started: {error.strerror}")
    output = _Output(probe)
    try:
        status = probe.wait(check.timeout_seconds)
        problem = f"it ended with {status}" if status else ""
    except subprocess.TimeoutExpired:
        problem = f"it did not end within {check.timeout_seconds:g} s"
    finally:
        _end_all(probe)
    return CheckFinding(problem=problem, output=output.end() if problem else "")


class _Output:
    """The last part of a command's output.

    A thread reads the output while the command runs, so that the command never blocks on its pipe.
    """

    def __init__(self, probe: subprocess.Popen[bytes]) -> None:
        self._end = b""
        self._pipe = probe.stdout
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self) -> str:
        """Return the output, after the probe and its children have ended."""
        self._thread.join(_OUTPUT_SECONDS)  # a process that escaped the kill may keep the pipe open
        return self._end.decode("utf-8", "backslashreplace")

    def _read(self) -> None:
        if self._pipe is None:
            return
        with self._pipe:
            while data := os.read(self._pipe.fileno(), _OUTPUT_BYTES):
                self._end = (self._end + data)[-_OUTPUT_BYTES:]


def _end_all(probe: subprocess.Popen[bytes]) -> None:
    """Kill all processes of the probe, because they may keep files open."""
    with suppress(ProcessLookupError):
        os.killpg(probe.pid, signal.SIGKILL)
    probe.wait()
