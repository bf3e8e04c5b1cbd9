"""Targets of a restore: database servers and buckets, and their promises.

The promises below are those of database servers. The target for objects, a bucket, is in
`targets.s3` and has its own promises.

    result = target.restore("crm", "crm", stream, replace=False)
    print(result.problems)

- A dump is streamed from the backup into the client program of the server. It is never stored on a
  local disk. Each piece of it (blob) is compared with its id, a keyed hash, before it is sent to
  the program.
- If the database has content and `replace` is false, it is not changed, and an error is raised.
- If the stream is interrupted, the program is killed before its input ends, so that it does not
  take a part of a dump for the whole dump. A database that was created for the restore is dropped.
- Statements that the server refused are counted, and reported without data of the dump.

To add a target, write one module with the `_methods`, and a test that restores and compares rows.
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
    """Result of restoring one dump; complete if `problems_total` is 0."""

    database: str  # "" for server-wide objects: roles and users
    bytes: int  # size of the dump
    problems: tuple[str, ...] = ()  # the first error lines of the program, without data of the dump
    problems_total: int = 0  # number of refused statements
    kept_as: str | None = None  # name of the previous database, if it still exists


class Target(ABC):
    """A server to restore into; its user may create databases."""

    kind: str
    suffix: str  # of the dumps that it accepts
    globals_name: str  # name of the file with server-wide objects

    def restore(
        self, database: str, name: str, stream: Stream, *, replace: bool = False
    ) -> TargetResult:
        """Restore a dump of database `name` into `database`; create it if missing.

        Raise `UnsafePath` if the database has content and `replace` is false, or `TargetFailed` if
        the restore could not be completed. Errors of the stream are raised unchanged.
        """
        try:
            return self._restore(database, name, stream, replace=replace)
        except ProgramFailed as error:
            raise TargetFailed(f"restoring into database {database} failed: {error}") from error

    def restore_globals(self, stream: Stream) -> TargetResult:
        """Restore roles or users, with grants and passwords, also existing ones."""
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
    """Send a stream to a program; return its status, bytes sent, error lines.

    If the stream raises an error, the program is killed before its input ends.
    """
    with run_program(command, stdin=True) as program:
        sent = _send(program, stream)
        return program.process.wait(), sent, program.errors.lines()


def query(command: Command, stream: Stream) -> bytes:
    """Send a stream to a program until it reads no more; return its output."""
    # The order of the two managers matters. The read of the thread ends only when the program has
    # ended. After an error, `run_program` first ends the program; then the pool waits.
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
                return (
                    sent  # the program ended before its input; its status shows whether it failed
                )
            sent += count or 0
            remaining = remaining[count or 0 :]
    pipe.close()
    return sent


def read_through(stream: Stream) -> None:
    """Read a stream to its end, to find damage before a database is dropped."""
    for _ in stream():
        pass
