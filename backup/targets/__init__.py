"""Targets: running database servers that dumps go back into.  What each target promises:

- A dump is streamed from the repository into the server's own program and never lies on a disk of
  ours; every piece was compared with its id before the program got it.
- A database that holds something is refused, and left as it is, unless `replace` is said.
- A stream that breaks off never looks like its end to the program: that is killed first.  A
  database that was made for the restore goes again then.
- What the server did not take is counted and named, by a line without anybody's data.

To add a target: one module with the `_methods`, one test that restores and compares rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from backup.errors import TargetFailed
from backup.sources.client_programs import Command, ProgramFailed, RunningProgram, run_program

Stream = Callable[[], Iterator[bytes]]  # gives the content from its beginning, each time


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a server took of one dump; whole when `problems` is empty."""

    database: str  # "" for what is the whole server's: roles, users
    bytes: int
    problems: tuple[str, ...] = ()  # each line that the program said, without anybody's data
    problems_total: int = 0
    kept_as: str | None = None  # the database that stood there before, where it is still there


class Target(ABC):
    """A server to restore into, as somebody who may create databases there."""

    kind: str
    suffix: str  # of the dumps that it takes
    globals_name: str  # of the file with what is the whole server's

    def restore(self, database: str, name: str, stream: Stream, *, replace: bool = False) -> Taken:
        """Restore a dump of database `name` into `database`, which is made where it is lacking.

        `UnsafePath` when it holds something and `replace` is not said; `TargetFailed` when the
        server did not take the dump as a whole; whatever the stream raises passes through.
        """
        try:
            return self._restore(database, name, stream, replace=replace)
        except ProgramFailed as error:
            raise TargetFailed(f"restoring into database {database} failed: {error}") from error

    def restore_globals(self, stream: Stream) -> Taken:
        """Restore roles or users and their grants, passwords too; those that exist are changed."""
        try:
            return self._restore_globals(stream)
        except ProgramFailed as error:
            raise TargetFailed(f"restoring roles and users failed: {error}") from error

    @abstractmethod
    def _restore(self, database: str, name: str, stream: Stream, *, replace: bool) -> Taken: ...

    @abstractmethod
    def _restore_globals(self, stream: Stream) -> Taken: ...


def feed(command: Command, stream: Stream) -> tuple[int, int, list[str]]:
    """Stream into a program; gives its exit status, the bytes it was sent and what it said.

    When the stream raises, the program is killed before it can take what came for all.
    """
    with run_program(command, stdin=True) as program:
        sent = _send(program, stream)
        return program.process.wait(), sent, program.errors.lines()


def ask(command: Command, stream: Stream) -> bytes:
    """Stream into a program as far as it reads, and return what it gives."""
    # The thread ends after the program: without an end of its input that would not end.
    with ThreadPoolExecutor(1) as thread, run_program(command, stdin=True, stdout=True) as program:
        assert program.process.stdout is not None  # noqa: S101 - started with gives=True
        answer = thread.submit(program.process.stdout.read)
        _send(program, stream)
        program.finish()
        return answer.result()


def _send(program: RunningProgram, stream: Stream) -> int:
    pipe = program.process.stdin
    assert pipe is not None  # noqa: S101 - started with takes=True
    sent = 0
    for piece in stream():
        rest = memoryview(piece)
        while rest:
            try:
                count = pipe.write(rest)
            except BrokenPipeError:
                return sent  # it ended before its input did, and its status says why
            sent += count or 0
            rest = rest[count or 0 :]
    pipe.close()
    return sent


def read_through(stream: Stream) -> None:
    """Read a stream to its end: what is damaged shows before anything is given up for it."""
    for _ in stream():
        pass
