"""Targets: database servers to restore dumps into, and their promises.

The target of objects, a bucket, is in `targets.s3` and has its own promises.

    result = target.restore("crm", "crm", stream, replace=False)
    print(result.problems)

- A dump is streamed from the repository into the server's own program and is never stored on a
  local disk; every piece is compared with its id before the program gets it.
- A database with content is refused and unchanged, unless `replace` is set.
- If the stream is interrupted, the program is killed before its input ends. So it never takes a
  part of a dump for the whole. A database that was created for the restore is dropped then.
- Statements that the server refused are counted and reported without data of the dump.

To add a target: one module with the `_methods`, and one test that restores and compares rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from backup.errors import TargetFailed
from backup.sources.client_programs import Command, ProgramFailed, RunningProgram, run_program
from backup.system.interruptible_wait import result_of

Stream = Callable[[], Iterator[bytes]]  # returns the content from its beginning at each call


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetResult:
    """Result of restoring one dump; complete if `problems` is empty."""

    database: str  # "" for server-wide objects: roles, users
    bytes: int
    problems: tuple[str, ...] = ()  # error lines of the program, without data of the dump
    problems_total: int = 0
    kept_as: str | None = None  # the previous database, if it still exists


class Target(ABC):
    """A server to restore into, as a role that may create databases."""

    kind: str
    suffix: str  # of the dumps that it accepts
    globals_name: str  # name of the file with server-wide objects

    def restore(
        self, database: str, name: str, stream: Stream, *, replace: bool = False
    ) -> TargetResult:
        """Restore a dump of database `name` into `database`; create it if missing.

        Raise `UnsafePath` if the database has content and `replace` is not set, or `TargetFailed`
        if the server did not accept the dump as a whole; errors of the stream pass through.
        """
        try:
            return self._restore(database, name, stream, replace=replace)
        except ProgramFailed as error:
            raise TargetFailed(f"restoring into database {database} failed: {error}") from error

    def restore_globals(self, stream: Stream) -> TargetResult:
        """Restore roles or users with grants and passwords; change existing ones."""
        try:
            return self._restore_globals(stream)
        except ProgramFailed as error:
            raise TargetFailed(f"restoring roles and users failed: {error}") from error

    @abstractmethod
    def _restore(
        self, database: str, name: str, stream: Stream, *, replace: bool
    ) -> TargetResult: ...

    @abstractmethod
    def _restore_globals(self, stream: Stream) -> TargetResult: ...


def feed(command: Command, stream: Stream) -> tuple[int, int, list[str]]:
    """Stream into a program; return its status, bytes sent and error lines.

    If the stream raises, the program is killed before it can mistake a part for the whole dump.
    """
    with run_program(command, stdin=True) as program:
        sent = _send(program, stream)
        return program.process.wait(), sent, program.errors.lines()


def query(command: Command, stream: Stream) -> bytes:
    """Stream into a program as far as it reads; return its output."""
    # On an error, `run_program` ends the program before the pool waits for its thread: the thread's
    # read ends only when the program has ended.
    with ThreadPoolExecutor(1) as thread, run_program(command, stdin=True, stdout=True) as program:
        assert program.process.stdout is not None  # noqa: S101 - started with stdout=True
        answer = thread.submit(program.process.stdout.read)
        _send(program, stream)
        program.finish()
        return result_of(answer)


def _send(program: RunningProgram, stream: Stream) -> int:
    pipe = program.process.stdin
    assert pipe is not None  # noqa: S101 - started with stdin=True
    sent = 0
    for piece in stream():
        remaining = memoryview(piece)
        while remaining:
            try:
                count = pipe.write(remaining)
            except BrokenPipeError:
                return sent  # the program ended before its input; its status says why
            sent += count or 0
            remaining = remaining[count or 0 :]
    pipe.close()
    return sent


def read_through(stream: Stream) -> None:
    """Read a stream to its end, to find damage before anything is dropped."""
    for _ in stream():
        pass
