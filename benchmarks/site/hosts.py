"""Hosts of a site on one machine: own name, folder and processes.

As root, each host has a name of its own (a UTS namespace). Standfast then cannot see that a process
of another host has ended: it waits until the lease of that process in the database is over, as on
separate machines. Without root, all hosts have the name of this machine.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.commands import STANDFAST
from benchmarks.measure import expect

_NAMED = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')


@dataclass(kw_only=True)
class Host:
    """One host with its configuration and its processes."""

    name: str
    folder: Path
    env: Mapping[str, str]
    commands: Sequence[Sequence[str]] = ()  # the processes that systemd would keep running
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def config_file(self) -> Path:
        return self.folder / "standfast.toml"

    @property
    def log(self) -> Path:
        return self.folder / "processes.log"

    def standfast(self, *words: str) -> list[str]:
        """Return a command of this host with its configuration."""
        return [*STANDFAST, *words, "-c", str(self.config_file)]

    def module(self, name: str, *words: str) -> list[str]:
        """Return the command of a module that takes the configuration first."""
        return [sys.executable, "-m", name, str(self.config_file), *words]

    def start(self) -> None:
        """Start the processes of this host."""
        with self.log.open("ab") as log:
            self._processes = [
                subprocess.Popen(
                    [*_as_host(self.name), *command],
                    env={**_plain_environment(), **self.env},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                for command in self.commands
            ]

    def kill(self) -> None:
        """Kill the processes of `start`; processes that they started continue."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def expect_running(self) -> None:
        """Raise Wrong if a process ended with an error without being killed."""
        for process in self._processes:
            status = process.poll()
            expect(
                status in (None, 0, -signal.SIGKILL),
                f"{self.name} runs, and does not end with {status}: {self.log.read_text()[-500:]}",
            )

    def end(self) -> None:
        """Kill every process of this host, with all child processes."""
        self.kill()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def processes(self, *marks: str) -> list[int]:
        """Return the processes that name this host's folder and each mark."""
        return [pid for pid in _pids() if _names_all(pid, (f"{self.folder}/", *marks))]


def _as_host(name: str) -> tuple[str, ...]:
    return (*_NAMED, name) if os.geteuid() == 0 else ()


def _plain_environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    return {**kept, "PYTHONPATH": str(root)}


def _pids() -> list[int]:
    own = os.getpid()
    found = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in found if pid != own]


def _names_all(pid: int, marks: Sequence[str]) -> bool:
    try:
        text = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:  # it ended meanwhile
        return False
    return all(mark.encode() in text for mark in marks)
