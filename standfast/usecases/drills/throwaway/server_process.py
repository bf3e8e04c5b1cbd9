"""Processes of a throwaway database server: isolation, start and end.

A throwaway server is used for one drill, a test restore, and then deleted.

Rules
- A process runs in a network namespace without any interface, if the kernel permits this. Otherwise
  `Isolation.gap` states the reason; the server still has no port.
- A process never runs as root. If the drill runs as root, the server runs as the user `nobody`, who
  owns its folder.
- If the kernel supports Landlock, a process cannot read the private keys that open backups, or the
  keys of the host.
- A process belongs to a server if the working directory of the process is inside the server's
  folder. Thus the processes of a killed drill are found too. Processes are killed without a
  shutdown, because their data is deleted next.
"""

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from backup.sources.client_programs import (
    Command,
    ProgramFailed,
    bare_environment,
    find_program,
    program_output,
)
from backup.system.landlock import call_with_hidden_paths
from backup.system.tree_removal import remove_tree

START_SECONDS = 120.0
_POLL_SECONDS = 0.02
_END_SECONDS = 10.0
_LONGEST_SOCKET_PATH = 107  # bytes, a limit of Linux
_LOG = "log"
_LOG_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """The command prefix that isolates a program, and the missing isolation."""

    prefix: tuple[str, ...]
    gap: str  # the reason why there is no network namespace, or ""


def find_isolation() -> Isolation:
    """Return the isolation that works here; `ProgramFailed` without setpriv."""
    user: tuple[str, ...] = ()
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = (
            find_program(["setpriv"], None, "util-linux"),
            f"--reuid={nobody.pw_uid}",
            f"--regid={nobody.pw_gid}",
            "--clear-groups",
            "--",
        )
    own_user = () if user else ("--user", "--map-current-user")
    try:
        unshare = (find_program(["unshare"], None, "util-linux"), "--net", *own_user, "--")
        true = find_program(["true"], None, "coreutils")
        program_output(Command(arguments=(*unshare, *user, true), environment=bare_environment()))
    except ProgramFailed as error:
        return Isolation(prefix=user, gap=str(error))
    return Isolation(prefix=(*unshare, *user), gap="")


@dataclass(kw_only=True)
class ServerProcess:
    """The programs of one server, which run in its folder."""

    folder: Path  # an absolute path without symbolic links
    socket: str  # the file name of the socket
    isolation: Isolation
    hidden: tuple[Path, ...]  # paths that a process must not be able to read
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def create_folder(self) -> None:
        """Create the private folder of the server, for the user that runs it.

        Raise `ProgramFailed` if the path is too long for a socket, or if that user cannot enter the
        folder.
        """
        socket = self.folder / self.socket
        if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
            raise ProgramFailed(
                f"{socket}: longer than {_LONGEST_SOCKET_PATH} bytes, the limit for a socket. Set"
                " drills.folder to a shorter path"
            )
        self.folder.parent.mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            self.folder.parent.chmod(0o711)
            closed = [path for path in self.folder.parents if not path.stat().st_mode & 0o001]
            if closed:
                raise ProgramFailed(
                    f"{closed[-1]}: the user `nobody` cannot enter it, and a database server "
                    "does not run as root. Run the drill as another user, or set drills.folder "
                    "to a folder that everybody may enter"
                )
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)

    def run(self, *arguments: str, stdin: Path = Path(os.devnull)) -> None:
        """Run a program to its end; raise `ProgramFailed` if it fails."""
        process = self._start(arguments, stdin)
        if process.wait():
            raise ProgramFailed(f"{Path(arguments[0]).name}: {self._reason()}")

    def start(self, *arguments: str) -> None:
        """Start the server."""
        self._process = self._start(arguments)

    def wait_until(self, is_ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait for the server; raise `ProgramFailed` if it ends or is too slow."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            if self._process is None or self._process.poll() is not None:
                raise ProgramFailed(f"the throwaway server ended: {self._reason()}")
            if time.monotonic() > deadline:
                raise ProgramFailed(f"the throwaway server did not answer within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    @property
    def has_own_network(self) -> bool:
        """Return whether the running server is in another network namespace."""
        if self._process is None:
            return False
        own, other = (Path(f"/proc/{pid}/ns/net") for pid in ("self", self._process.pid))
        with suppress(OSError):
            return own.readlink() != other.readlink()
        return False

    def end(self) -> None:
        """Kill the server and all processes in its folder; delete the folder."""
        end_processes(self.folder)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        remove_tree(self.folder)

    def _start(
        self, arguments: Sequence[str], stdin: Path = Path(os.devnull)
    ) -> "subprocess.Popen[bytes]":
        environment = {**bare_environment(), "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        with (self.folder / _LOG).open("ab") as log, stdin.open("rb") as content:
            return call_with_hidden_paths(
                self.hidden,
                lambda: subprocess.Popen(
                    [*self.isolation.prefix, *arguments],
                    cwd=self.folder,
                    env=environment,
                    stdin=content,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                ),
            )

    def _reason(self) -> str:
        text = (self.folder / _LOG).read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if line.strip()] or ["it wrote no message"]
        errors = [line for line in lines if "ERROR" in line or "FATAL" in line]
        return (errors or lines)[-1]


def end_processes(folder: Path) -> bool:
    """Kill all processes in a server's folder; return whether none is left."""
    deadline = time.monotonic() + _END_SECONDS
    while pids := _processes_in(folder):
        if time.monotonic() > deadline:
            return False
        for pid in pids:
            _kill_inside(pid, folder)
        time.sleep(_POLL_SECONDS)
    return True


def _processes_in(folder: Path) -> list[int]:
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_inside(int(entry.name), folder)
    ]


def _is_inside(pid: int, folder: Path) -> bool:
    """Return whether a thread of a process works in a folder.

    All threads are examined, because the first thread of a killed process may end before the
    others.
    """
    with suppress(OSError):  # the process has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # the thread has ended, or belongs to another user
                if (thread / "cwd").readlink().is_relative_to(folder):
                    return True
    return False


def _kill_inside(pid: int, folder: Path) -> None:
    """Kill a process, unless another process has the same number now."""
    with suppress(OSError):  # the process has ended; the error number depends on the kernel
        descriptor = os.pidfd_open(pid)
        try:
            if _is_inside(pid, folder):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
