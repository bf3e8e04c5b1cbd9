"""Capture of a program's output as evidence, with time and size limits.

Rules
- No shell reads the arguments, and the environment has only PATH and LANG.
- The program runs under `timeout` of coreutils, so that it ends at its time limit even if this
  process has died.
- The output is written to disk as it arrives, and never parsed or shown. If it exceeds the limit,
  the program is ended and the item states this.
- Messages (standard error) are a file of their own, with the ending `.messages`.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from standfast.evidence.collected_file import CollectedFile
from standfast.evidence.item_file import ItemFolder
from standfast.evidence.manifest import Item

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
_TIMEOUT = "/usr/bin/timeout"
_KILL_AFTER_SECONDS = 1
_CUT_OFF = (124, 137)  # the status of `timeout` after it ended, or killed, the program
_NOT_STARTED = (125, 126, 127)  # `timeout` itself failed, or the program cannot be run
_READ_BYTES = 1024 * 1024
_MOST_MESSAGE_BYTES = 1024 * 1024
_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class OutputLimits:
    """Limits of one program."""

    seconds: int
    mib: int


def capture_output(
    argv: Sequence[str],
    files: ItemFolder,
    path: str,
    limits: OutputLimits,
    *,
    messages_mean_loss: bool = False,
) -> tuple[Item, ...]:
    """Run a program and write its output to `path`; return the items.

    With `messages_mean_loss`, an output with messages is incomplete.
    """
    bound = [_TIMEOUT, f"--kill-after={_KILL_AFTER_SECONDS}", "--", str(limits.seconds)]
    with CollectedFile(files, path) as output:
        try:
            process = subprocess.Popen(
                [*bound, *argv],
                cwd="/",
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return (output.item(f"cannot be started: {error.strerror}"),)
        messages = bytearray()
        try:
            loss = _read(process, output, messages, limits)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        loss = loss or _describe_loss(status, limits)
        if messages and messages_mean_loss:
            loss = loss or f"the program reported problems; see {path}.messages"
        items = [output.item(loss)]
    if messages:
        with CollectedFile(files, f"{path}.messages") as messages_file:
            messages_file.write(bytes(messages))
            items.append(messages_file.item())
    return tuple(items)


def _read(
    process: subprocess.Popen[bytes],
    output: CollectedFile,
    messages: bytearray,
    limits: OutputLimits,
) -> str:
    """Read both pipes to their ends; return the reason if the output was cut."""
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018  # for the type checker
    until = time.monotonic() + limits.seconds + 2 * _KILL_AFTER_SECONDS
    with process.stdout, process.stderr, selectors.DefaultSelector() as pipes:
        pipes.register(process.stdout, selectors.EVENT_READ)
        pipes.register(process.stderr, selectors.EVENT_READ)
        while pipes.get_map():
            left = until - time.monotonic()
            # A child of the program may keep a pipe open; do not wait for it.
            if left <= 0:
                return _out_of_time(limits)
            for key, _ in pipes.select(left):
                block = os.read(key.fd, _READ_BYTES)
                if not block:
                    pipes.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    messages += block[: _MOST_MESSAGE_BYTES - len(messages)]
                else:
                    room = limits.mib * _MIB - output.size_bytes
                    output.write(block[:room])
                    if len(block) > room:
                        return f"cut after {limits.mib} MiB, the limit"
        process.wait(max(until - time.monotonic(), 0.1))
    return ""


def _describe_loss(status: int, limits: OutputLimits) -> str:
    if status in _CUT_OFF:
        return _out_of_time(limits)
    if status in _NOT_STARTED:
        return f"the program cannot be run (status {status}). Check its path and mode."
    if status < 0:
        return f"the program was ended by signal {-status}"
    return f"the program ended with status {status}" if status else ""


def _out_of_time(limits: OutputLimits) -> str:
    return f"cut after {limits.seconds} s, the time limit"
