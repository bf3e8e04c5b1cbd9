"""Client programs of databases: environment, streams, errors, time limits.

- A program gets a secret through its environment or a private file. It never gets a secret through
  its arguments, which every user of the machine may read.
- The output of a program is read as it arrives, and is not stored on a local disk.
- A thread reads the error output, so the program never blocks on it. Only the beginning and the end
  of the error output are kept, because some programs write a line for each row of a table.
- Content is complete only if the program ended with success. The last `readinto` waits for the end
  of the program. If the end of a complete output is known (an end marker), the output must contain
  it too. Without this check, a script that runs the program on another machine could hide a
  failure.
- Only one line of the error output is shown, shortened and without secrets.
- A program is killed at the end of the block that started it. If it writes no output for half an
  hour, its run ends with an error.
- A program that receives backup content cannot read the file with the decryption key, if the kernel
  can hide files (see `system.landlock`).
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

UNKNOWN_SIZE = 1 << 62  # size of content whose length is known only at its end
_PIPE_BYTES = 1024 * 1024
_HEAD_BYTES = 16 * 1024  # of the error output
_TAIL_BYTES = 64 * 1024
LAST_ERRORS_SECONDS = 2.0  # wait for the rest of the errors; a child process may keep the pipe open
_LINE_CHARACTERS = 300
_QUERY_SECONDS = 120.0
SILENT_SECONDS = 1800.0  # a program without output for this time counts as blocked
_IS_ERROR = re.compile(r"\b(error|fatal|panic)\b", re.IGNORECASE)


class ProgramFailed(Exception):
    """A program is missing, could not start, or failed; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, with the whole environment of the program."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    # Texts that are removed from all messages.
    secrets: tuple[str, ...] = field(default=(), repr=False)
    hidden: tuple[Path, ...] = ()  # files and folders that the program cannot read

    @property
    def program(self) -> str:
        """Return the program's name, for messages."""
        return Path(self.arguments[0]).name

    def with_environment(self, **more: str) -> "Command":
        """Return the same command with additional variables."""
        return replace(self, environment={**self.environment, **more})


def find_program(names: Iterable[str], folder: Path | None, package: str) -> str:
    """Return the path of the first program found in `folder` or on the PATH."""
    names = tuple(names)
    for name in names:
        found = shutil.which(name, path=None if folder is None else str(folder))
        if found is not None:
            return found
    where = "on the PATH" if folder is None else f"in {folder}"
    raise ProgramFailed(f"{names[0]}: not found {where}. Install the package {package}.")


def bare_environment() -> dict[str, str]:
    """Return the environment variables that a program needs.

    They contain no settings of the user, and select messages in English.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "LANGUAGE": "C"}


class ErrorOutput:
    """Error output of a program: its beginning and its end."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._head = b""
        self._tail = b""
        self._left_out = 0  # bytes between the beginning and the end
        read_end, self.write_end = os.pipe()  # the program writes, `_listen` reads
        self._is_open = True
        self._thread = threading.Thread(target=self._listen, args=(read_end,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close this process's end of the pipe after the program ended."""
        if self._is_open:
            self._is_open = False
            os.close(self.write_end)

    def lines(self) -> list[str]:
        """Return the kept lines, each shortened and without secrets."""
        self.close()
        self._thread.join(LAST_ERRORS_SECONDS)
        head, tail = self._head, self._tail
        if self._left_out:
            # Drop the text next to the gap, because a part of a secret would not be recognized.
            half = max((len(secret.encode()) for secret in self._command.secrets), default=0)
            head, tail = head[: len(head) - half] + b"\n", tail[half:]
        text = (head + tail).decode("utf-8", "replace")
        for secret in self._command.secrets:
            text = text.replace(secret, "…")
        shown = ("".join(filter(str.isprintable, line)).strip() for line in text.splitlines())
        return [line[:_LINE_CHARACTERS] for line in shown if line]

    def _listen(self, read_end: int) -> None:
        with open(read_end, "rb", buffering=0) as line:
            while piece := line.read(_TAIL_BYTES):
                room = _HEAD_BYTES - len(self._head)
                self._head += piece[:room]
                tail = self._tail + piece[room:]
                self._left_out += max(0, len(tail) - _TAIL_BYTES)
                self._tail = tail[-_TAIL_BYTES:]

    def check(self, status: int) -> None:
        """Raise `ProgramFailed` with the last error line if the status is not 0."""
        if status:
            lines = self.lines() or ["it wrote no error message"]
            line = next((line for line in reversed(lines) if _IS_ERROR.search(line)), lines[-1])
            raise ProgramFailed(f"{self._command.program} ended with {status}: {line}")


class RunningProgram:
    """A running program."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", errors: ErrorOutput) -> None:
        self.name = name  # for messages
        self.process = process
        self.errors = errors

    def finish(self) -> None:
        """Wait for the end; raise `ProgramFailed` if the program failed."""
        self.errors.check(self.process.wait())


@contextmanager
def _collect_errors(command: Command) -> Iterator[ErrorOutput]:
    errors = ErrorOutput(command)
    try:
        yield errors
    except OSError as error:
        raise ProgramFailed(
            f"{command.program}: cannot be started ({error.strerror}). Check its path and mode."
        ) from error
    finally:
        errors.close()


@contextmanager
def run_program(
    command: Command, *, stdin: bool = False, stdout: bool = False
) -> Iterator[RunningProgram]:
    """Start a program, with pipes if requested; kill it at the block's end."""
    with _collect_errors(command) as errors:
        process = call_with_hidden_paths(
            command.hidden,
            lambda: subprocess.Popen(
                command.arguments,
                env=command.environment,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=errors.write_end,
                bufsize=0,
                # Ctrl-C must reach only this process, which then ends the program.
                start_new_session=True,
            ),
        )
    try:
        yield RunningProgram(command.program, process, errors)
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also the processes that it started
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class ProgramOutput:
    """Output of a program as content; `OSError` if the program failed.

    The size of a short output is known from the beginning, that of a longer output only at its end.
    """

    holes: tuple[tuple[int, int], ...] = ()

    def __init__(
        self,
        program: RunningProgram,
        *,
        first: bytes = b"",
        ending: EndMarker | None = None,
        on_failure: Callable[[str], None],
    ) -> None:
        """Start to read; the output must have the end marker `ending`.

        `first` is returned before the output of the program. `on_failure` is called with the
        problem before an error is raised.
        """
        assert program.process.stdout is not None  # noqa: S101 - started with stdout=True
        self._program = program
        self._on_failure = on_failure
        self._pipe = program.process.stdout.fileno()
        with suppress(OSError):  # a larger pipe only saves switches between the two processes
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._ready = select.poll()  # unlike select(), for descriptors of any number
        self._ready.register(self._pipe, select.POLLIN)
        self.returned = 0
        self._ending = ending
        self._has_ended = False
        head = memoryview(bytearray(SMALL_FILE_BYTES))
        head[: len(first)] = first
        length = len(first) + self._fill(head[len(first) :])
        self._head = head[:length]
        self.size = length if self._has_ended else UNKNOWN_SIZE

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, except at the end; return the number of bytes."""
        count = min(len(buffer), len(self._head))
        buffer[:count] = self._head[:count]
        self._head = self._head[count:]
        count += self._fill(buffer[count:])
        self.returned += count
        if self._has_ended and not self._head:
            self.size = self.returned
        return count

    def changed(self) -> None:
        """Return None, because the output of a successful program is consistent."""

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer) and not self._has_ended:
            self._wait_for_output()
            count = os.readv(self._pipe, [buffer[filled:]])
            if count == 0:
                self._has_ended = True
                self._finish_program()
            elif self._ending is not None:
                self._ending.feed(buffer[filled : filled + count])
            filled += count
        return filled

    def _wait_for_output(self) -> None:
        if self._ready.poll(SILENT_SECONDS * 1000):
            return
        problem = (
            f"{self._program.name}: no output for {SILENT_SECONDS / 60:.0f} minutes. Check whether"
            " the server waits for a lock or for its archive, then run again."
        )
        self._on_failure(problem)
        raise OSError(problem)

    def _finish_program(self) -> None:
        try:
            self._program.finish()
            self._check_end_marker()
        except ProgramFailed as error:
            self._on_failure(str(error))
            # Raise the same error as for an unreadable file, so that the caller reports the file
            # and continues.
            raise OSError(str(error)) from error

    def _check_end_marker(self) -> None:
        if self._ending is not None and not self._ending.is_complete:
            raise ProgramFailed(
                f"{self._program.name}: it ended with success, but its output breaks off before the"
                " end. Check the script that starts it, then run again."
            )


def program_output(command: Command) -> bytes:
    """Return the output of a program; raise `ProgramFailed` after two minutes."""
    with run_program(command, stdout=True) as program:
        try:
            answer, _ = program.process.communicate(timeout=_QUERY_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(
                f"{command.program}: no answer in {_QUERY_SECONDS:.0f} s. Check whether the server"
                " is busy, then run again."
            ) from None
        program.finish()
    return answer
