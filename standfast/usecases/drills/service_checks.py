"""The checks that a drill runs on what it restored, service by service.

Rules
- A restored database is opened read-only and unlocked: nothing in the tree is changed by looking.
- A probe runs without a shell, in the restored tree, with a bare environment: it gets none of this
  process's secrets. At its time-out it is ended with everything that it started.
- A check that does not belong to this set is skipped by name, never in silence.
- A reason has counts and classes only: what a query or a probe printed may be personal. The end of
  what a failed probe printed stands apart, for the person who drills.
"""

import os
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from standfast.config.sections.services import CommandCheckConfig, ServiceConfig, SqliteCheckConfig
from standfast.continuity.recovery_objectives import milliseconds
from standfast.plurals import counted
from standfast.records import Json, Now, utc

_OUTPUT_BYTES = 16 * 1024
_OUTPUT_SECONDS = 1.0
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")


class CheckState(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check, tried or skipped."""

    name: str
    service: str  # empty: the drill's own
    state: CheckState
    reason: str = ""
    took_ms: int = 0
    last_change: datetime | None = None  # the newest change that it found in the data
    output: str = ""  # the end of what a failed command printed; it may be personal

    def as_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "service": self.service,
            "state": self.state.value,
            "reason": self.reason,
            "took_ms": self.took_ms,
        }


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a check saw; an empty `problem` means that it passed."""

    problem: str = ""
    last_change: datetime | None = None
    output: str = ""


def run_checks(
    name: str,
    service: ServiceConfig,
    tree: Path,
    sources: frozenset[str],
    clock: Now,
) -> tuple[CheckResult, ...]:
    """Run the checks of a service, in their order; one that fails stops none of the others."""
    results = []
    for check in service.checks:
        title = _title(check)
        if isinstance(check, SqliteCheckConfig) and check.path.parts[0] not in sources:
            results.append(
                CheckResult(
                    name=title,
                    service=name,
                    state=CheckState.SKIPPED,
                    reason="it belongs to another set of this service",
                )
            )
            continue
        started = clock()
        if isinstance(check, SqliteCheckConfig):
            found = _check_sqlite(check, tree)
        else:
            found = _check_command(check, tree)
        results.append(
            CheckResult(
                name=title,
                service=name,
                state=CheckState.FAILED if found.problem else CheckState.PASSED,
                reason=found.problem,
                took_ms=milliseconds(clock() - started),
                last_change=found.last_change,
                output=found.output,
            )
        )
    return tuple(results)


def write_output(path: Path, checks: Sequence[CheckResult]) -> bool:
    """Write what failed commands printed into a new private file; return whether there is one."""
    printed = [f"{one.name}: {one.reason}\n{one.output}\n" for one in checks if one.output]
    if printed:
        with suppress(OSError):  # a full disk: a person at the terminal sees it all the same
            path.touch(mode=0o600, exist_ok=False)
            path.write_text("".join(printed), encoding="utf-8")
            return True
    return False


def read_only(path: Path) -> str:
    """Give the address under which SQLite reads a restored file and leaves nothing beside it.

    Only where a write-ahead log was restored with it does SQLite have to make its index.
    """
    wal = path.with_name(path.name + "-wal")
    way = "mode=ro" if wal.exists() else "mode=ro&immutable=1"
    return f"file:{quote(os.fsencode(path.absolute()))}?{way}"


def quoted(name: str) -> str:
    """Quote a table's name for SQLite."""
    return '"' + name.replace('"', '""') + '"'


def _title(check: SqliteCheckConfig | CommandCheckConfig) -> str:
    if isinstance(check, SqliteCheckConfig):
        return f"sqlite {check.path}"
    return f"command {PurePosixPath(check.command[0]).name}"  # arguments may name people


def _check_sqlite(check: SqliteCheckConfig, tree: Path) -> _Found:
    path = tree / check.path
    if not path.is_file():
        return _Found(problem="the database file is not in the restored tree")
    try:
        with closing(sqlite3.connect(read_only(path), uri=True)) as database:
            damage = database.execute("PRAGMA integrity_check(100)").fetchall()
            if damage != [("ok",)]:
                return _Found(problem=f"integrity_check found {counted(len(damage), 'problem')}")
            problems = list(_missing_rows(database, check.minimum_rows))
            last_change = None
            if check.last_change is not None:
                row = database.execute(check.last_change).fetchone()
                last_change = _moment(row[0] if row else None)
                if last_change is None:
                    problems.append("the last_change query gave no time")
    except sqlite3.Error as error:
        return _Found(problem=f"SQLite cannot read it ({type(error).__name__})")
    return _Found(problem="; ".join(problems), last_change=last_change)


def _missing_rows(database: sqlite3.Connection, least: Mapping[str, int]) -> list[str]:
    problems = []
    for table, minimum in least.items():
        try:
            query = f"SELECT count(*) FROM {quoted(table)}"  # noqa: S608 - a quoted name
            (count,) = database.execute(query).fetchone()
        except sqlite3.OperationalError:
            problems.append(f"table {table} is not there")
        else:
            if count < minimum:
                problems.append(
                    f"table {table} has {counted(count, 'row')}, at least {minimum:,} were expected"
                )
    return problems


def _moment(value: object) -> datetime | None:
    """Read ISO 8601 text, in UTC unless it says otherwise, or Unix seconds."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _check_command(check: CommandCheckConfig, tree: Path) -> _Found:
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
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
        return _Found(problem=f"the command cannot be started: {error.strerror}")
    output = _Output(probe)
    try:
        status = probe.wait(check.timeout_seconds)
        problem = f"it ended with {status}" if status else ""
    except subprocess.TimeoutExpired:
        problem = f"it did not end within {check.timeout_seconds:g} s"
    finally:
        _end_all(probe)
    return _Found(problem=problem, output=output.end() if problem else "")


class _Output:
    """The end of what a command prints, read while it runs so that it never waits for a reader."""

    def __init__(self, probe: subprocess.Popen[bytes]) -> None:
        self._end = b""
        self._pipe = probe.stdout
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self) -> str:
        """Return it once everything that could print has ended."""
        self._thread.join(_OUTPUT_SECONDS)  # who left the group may hold the pipe open
        return self._end.decode("utf-8", "backslashreplace")

    def _read(self) -> None:
        if self._pipe is None:
            return
        with self._pipe:
            while data := os.read(self._pipe.fileno(), _OUTPUT_BYTES):
                self._end = (self._end + data)[-_OUTPUT_BYTES:]


def _end_all(probe: subprocess.Popen[bytes]) -> None:
    """End the probe's whole group: what it left running would hold the restored data open."""
    with suppress(ProcessLookupError):
        os.killpg(probe.pid, signal.SIGKILL)
    probe.wait()
