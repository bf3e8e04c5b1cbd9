"""Other people's programs that give or take data: found, started, streamed, ended.

- A secret reaches a program by its environment or by a private file, never by its arguments, which
  every user of the machine may read.
- What a program writes is read as it comes and kept nowhere; what it says of errors is read by a
  thread, so that it never stands still for a reader, and only its beginning and its end are kept:
  some programs say a line for each row.
- Content counts only when the program ended with success: the last `readinto` waits for that.
  Where a whole output ends in a known way, it has to: a script that starts the program elsewhere
  may hide that it failed.
- Of what a program says only one line is shown, cut short and without secrets.
- A program never outlives the block that started it, and never hangs a night.
- A program that gets a backup's content cannot read the custodian's identity, where the kernel can
  hide a file.
"""

import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from backup.sources.chunk_sizes import SMALL_FILE_BYTES
from backup.sources.output_completeness import EndMarker
from backup.system.landlock import call_with_hidden_paths

UNKNOWN_SIZE = 1 << 62  # of content whose end is known only once it came
_PIPE_BYTES = 1024 * 1024
_HEAD_BYTES = 16 * 1024  # of what it says besides
_TAIL_BYTES = 64 * 1024
_LAST_WORD_SECONDS = 2.0  # to be heard once it ended; what it started may go on holding the line
_LINE_CHARACTERS = 300
_QUERY_SECONDS = 120.0
_SILENT_SECONDS = 1800.0  # a program that gives nothing for so long waits for something
_IS_ERROR = re.compile(r"\b(error|fatal|panic)\b", re.IGNORECASE)


class ProgramFailed(Exception):
    """A program is missing, could not start or did not end well; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is started: `environment` replaces the whole one of this process."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)  # cut out of whatever is shown
    hidden: tuple[Path, ...] = ()  # files and folders that it cannot read

    @property
    def program(self) -> str:
        """Its name, for messages."""
        return Path(self.arguments[0]).name

    def with_environment(self, **more: str) -> "Command":
        """The same call with other variables."""
        return replace(self, environment={**self.environment, **more})


def find_program(names: Iterable[str], folder: Path | None, package: str) -> str:
    """The path of the first program that is there: in `folder`, or else where the shell looks."""
    names = tuple(names)
    for name in names:
        found = shutil.which(name, path=None if folder is None else str(folder))
        if found is not None:
            return found
    where = "on the PATH" if folder is None else f"in {folder}"
    raise ProgramFailed(f"{names[0]} is not {where}: install the package {package}")


def bare_environment() -> dict[str, str]:
    """What a program needs of this process' environment, and no setting of anybody's.

    Messages are in English, so that they can be understood by whoever reads them here.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "LANGUAGE": "C"}


class Said:
    """What a program said besides what it gave: its beginning and its end, however much it was."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._head = b""
        self._tail = b""
        self._left_out = 0  # bytes between the two
        reading, self.line = os.pipe()  # what the program is started with
        self._is_held = True
        self._thread = threading.Thread(target=self._listen, args=(reading,), daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """Close our end of the line: once the program has ended there is nothing more to hear."""
        if self._is_held:
            self._is_held = False
            os.close(self.line)

    def lines(self) -> list[str]:
        """What is kept of it line by line, each cut short and without secrets."""
        self.hang_up()
        self._thread.join(_LAST_WORD_SECONDS)
        head, tail = self._head, self._tail
        if self._left_out:
            # Half a secret would not be found.
            half = max((len(secret.encode()) for secret in self._command.secrets), default=0)
            head, tail = head[: len(head) - half] + b"\n", tail[half:]
        text = (head + tail).decode("utf-8", "replace")
        for secret in self._command.secrets:
            text = text.replace(secret, "…")
        shown = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
        return [line[:_LINE_CHARACTERS] for line in shown if line]

    def _listen(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as line:
            while piece := line.read(_TAIL_BYTES):
                room = _HEAD_BYTES - len(self._head)
                self._head += piece[:room]
                tail = self._tail + piece[room:]
                self._left_out += max(0, len(tail) - _TAIL_BYTES)
                self._tail = tail[-_TAIL_BYTES:]

    def check(self, status: int) -> None:
        """ProgramFailed with its last words when the exit status is no success."""
        if status:
            lines = self.lines() or ["it said nothing"]
            line = next((line for line in reversed(lines) if _IS_ERROR.search(line)), lines[-1])
            raise ProgramFailed(f"{self._command.program} ended with {status}: {line}")


class Running:
    """A program under way."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", said: Said) -> None:
        self.name = name  # for messages
        self.process = process
        self.said = said

    def finish(self) -> None:
        """Wait for its end; ProgramFailed when that was no success."""
        self.said.check(self.process.wait())


@contextmanager
def _heard(command: Command) -> Iterator[Said]:
    said = Said(command)
    try:
        yield said
    except OSError as error:
        raise ProgramFailed(f"{command.program} cannot be started: {error.strerror}") from error
    finally:
        said.hang_up()


@contextmanager
def running(command: Command, *, takes: bool = False, gives: bool = False) -> Iterator[Running]:
    """Start a program that takes its standard input or gives its output; kill it at the end."""
    with _heard(command) as said:
        process = call_with_hidden_paths(
            command.hidden,
            lambda: subprocess.Popen(
                command.arguments,
                env=command.environment,
                stdin=subprocess.PIPE if takes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if gives else subprocess.DEVNULL,
                stderr=said.line,
                bufsize=0,
                # Ctrl-C is for us: we end it, once we know what to say about it.
                start_new_session=True,
            ),
        )
    try:
        yield Running(command.program, process, said)
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it started goes, too
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class Output:
    """What a program gives, as a source's content; `OSError` when it did not end well.

    A short output has its size from the beginning, a longer one only once it came to its end.
    """

    holes: tuple[tuple[int, int], ...] = ()

    def __init__(
        self,
        program: Running,
        *,
        first: bytes = b"",
        ending: EndMarker | None = None,
        on_failure: Callable[[str], None],
    ) -> None:
        """`first` is given before what the program gives, which has to come to its `ending`."""
        assert program.process.stdout is not None  # noqa: S101 - started with gives=True
        self._program = program
        self._on_failure = on_failure
        self._pipe = program.process.stdout.fileno()
        with suppress(OSError):  # it only saves switches between the two processes
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._ready = select.poll()  # unlike select() for descriptors of any number
        self._ready.register(self._pipe, select.POLLIN)
        self.given = 0
        self._ending = ending
        self._ended = False
        head = memoryview(bytearray(SMALL_FILE_BYTES))
        head[: len(first)] = first
        length = len(first) + self._fill(head[len(first) :])
        self._head = head[:length]
        self.size = length if self._ended else UNKNOWN_SIZE

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; fewer only at the end."""
        count = min(len(buffer), len(self._head))
        buffer[:count] = self._head[:count]
        self._head = self._head[count:]
        count += self._fill(buffer[count:])
        self.given += count
        if self._ended and not self._head:
            self.size = self.given
        return count

    def changed(self) -> None:
        """Nothing: a program that succeeded gave one moment."""

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer) and not self._ended:
            self._wait()
            count = os.readv(self._pipe, [buffer[filled:]])
            if count == 0:
                self._ended = True
                self._end()
            elif self._ending is not None:
                self._ending.see(buffer[filled : filled + count])
            filled += count
        return filled

    def _wait(self) -> None:
        if self._ready.poll(_SILENT_SECONDS * 1000):
            return
        problem = (
            f"nothing came for {_SILENT_SECONDS / 60:.0f} minutes; see whether the server waits for"
            " a lock or for its archive, then run again"
        )
        self._on_failure(problem)
        raise OSError(problem)

    def _end(self) -> None:
        try:
            self._program.finish()
            self._check_ending()
        except ProgramFailed as error:
            self._on_failure(str(error))
            # As a file that cannot be read: whoever reads names it and goes on with the next.
            raise OSError(str(error)) from error

    def _check_ending(self) -> None:
        if self._ending is not None and not self._ending.is_complete:
            raise ProgramFailed(
                f"{self._program.name} ended as if it had succeeded, and what it gave breaks off"
                " before its end: see what starts it here, then run again"
            )


def answer_of(command: Command) -> bytes:
    """Everything that a program gives; for small answers, and for at most two minutes."""
    with running(command, gives=True) as program:
        try:
            answer, _ = program.process.communicate(timeout=_QUERY_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(
                f"{command.program} had no answer in {_QUERY_SECONDS:.0f} s;"
                " see whether the server is busy, then run again"
            ) from None
        program.finish()
    return answer
