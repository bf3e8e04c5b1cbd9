"""Wall time, processor time and memory of whole processes.

- Processor time is that of the process and of every child that it waited for, as the kernel counts
  it.
- Python programs may write compiled modules, as in an installation, even if the shell of the
  benchmark sets PYTHONDONTWRITEBYTECODE.
- Memory is sampled every 20 ms. The figure is the maximum over time of the sum of the peak resident
  sizes in the process tree. The maximum of `wait4` is not used, because it includes the size of
  this program at the fork.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Stopwatch, expect

_LOOK_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Time and memory of one process."""

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 1800,
) -> Usage:
    """Run a program to its end; raise Wrong unless its exit status is 0.

    The error contains the end of the program's output.
    """
    with tempfile.TemporaryFile() as output:
        watch = Stopwatch()
        process = subprocess.Popen(
            command,
            env=_as_installed(os.environ if env is None else env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        looking = _MemorySampler(process.pid)
        too_long = threading.Timer(seconds, process.kill)
        too_long.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        finally:
            too_long.cancel()
            looking.stop()
        wall = watch.seconds()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        output_end = output.read()[-400:].decode(errors="replace").strip()
    expect(
        process.returncode == 0, f"{command[0]} ends with 0, not {process.returncode}: {output_end}"
    )
    return Usage(
        wall_seconds=wall,
        cpu_seconds=used.ru_utime + used.ru_stime,
        memory_bytes=looking.most_bytes,
    )


def _as_installed(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}


class _MemorySampler:
    """Thread that samples the memory of a process tree until stopped."""

    def __init__(self, pid: int) -> None:
        self.most_bytes = 0
        self._pid = pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            self.most_bytes = max(self.most_bytes, _tree_bytes(self._pid))


def _tree_bytes(pid: int) -> int:
    folder = Path(f"/proc/{pid}")
    try:
        _, found, rest = (folder / "status").read_text().partition("VmHWM:")
        size = int(rest.split(maxsplit=1)[0]) * 1024 if found else 0  # /proc states kB
        children = [
            int(child)
            for task in (folder / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (OSError, IndexError, ValueError):  # the process ended meanwhile
        return 0
    return size + sum(map(_tree_bytes, children))
