"""Server processes of the contact centre: accounts and mail.

The processes continue after the tour, so that every command can be tried. `servers.json` in the
folder of the installation names them, `stop` ends them, and `start_again` restarts them on the same
ports. The Prefect server ends with the tour. The file names it too, so that `stop` can end it if
the tour was killed.

Rules
- A process is ended only if both its number and its start time match the file, because numbers are
  reused.
- The servers listen only on loopback. The log of each server is a file in the installation.
- A server is ready when it accepts a connection; the wait has a deadline.
"""

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx

from demo.demo_configuration import CONTROL_FILE, SESSIONS_FILE, TOKEN_FILE
from standfast.errors import StandfastError, UsageError

SERVERS_FILE = "servers.json"
MAILBOX = "mailbox"
_PREFECT = "prefect"
_READY_SECONDS = 30.0
_END_SECONDS = 5.0
_USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"


@dataclass(frozen=True, kw_only=True)
class Running:
    """One server process, with the data that identifies it."""

    name: str
    port: int
    pid: int
    began: str  # the start time of the process, as the kernel states it

    @property
    def is_alive(self) -> bool:
        return self.began != "" and _start_time(self.pid) == self.began


def ports(count: int = 2) -> list[int]:
    """Return free loopback ports, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def make_token(place: Path) -> None:
    """Create private files with the tokens of directory and test account."""
    for name in (TOKEN_FILE, CONTROL_FILE):
        _write_private(place / name, secrets.token_urlsafe(32) + "\n")


def make_sessions(place: Path, accounts: Sequence[str]) -> None:
    """Sign the accounts in: write a session token of each to a private file."""
    lines = [f"{account} {secrets.token_urlsafe(32)}\n" for account in accounts]
    _write_private(place / SESSIONS_FILE, "".join(lines))


def _write_private(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)


def start(place: Path, *, directory_port: int, mail_port: int) -> list[Running]:
    """Start both servers and wait until they answer.

    StandfastError names the log of a server that ended. `servers.json` is written before the wait.
    """
    commands: Mapping[str, tuple[int, Sequence[str]]] = {
        "directory": (
            directory_port,
            ["demo.directory_server", str(directory_port), str(place / TOKEN_FILE),
             str(place / "directory.json"), str(place / SESSIONS_FILE), str(place / CONTROL_FILE)],
        ),
        "mail": (mail_port, ["demo.mail_server", str(mail_port), str(place / MAILBOX)]),
    }  # fmt: skip
    (place / "server-logs").mkdir(exist_ok=True)
    started = [
        _launch(name, port, arguments, place / "server-logs" / f"{name}.log")
        for name, (port, arguments) in commands.items()
    ]
    (place / SERVERS_FILE).write_text(json.dumps([asdict(server) for server in started], indent=2))
    for server in started:
        log = place / "server-logs" / f"{server.name}.log"
        wait_for(partial(_is_decided, server), f"the {server.name} server")
        if not server.is_alive:
            stop(place)
            raise StandfastError(f"the {server.name} server ended while starting; {log} says why")
    return started


def note_prefect(place: Path, *, port: int, pid: int) -> None:
    """Add the tour's Prefect server to `servers.json`, for `stop`.

    The server must be the leader of its process group, because `stop` ends the group.
    """
    prefect = Running(name=_PREFECT, port=port, pid=pid, began=_start_time(pid))
    noted = [*_read_servers_file(place), prefect]
    (place / SERVERS_FILE).write_text(json.dumps([asdict(server) for server in noted], indent=2))


def start_again(place: Path) -> list[Running]:
    """Restart the servers on their ports, unless all of them are running."""
    known = [
        server for server in _read_servers_file(place) if server.name != _PREFECT
    ]  # Prefect belongs to the tour
    if all(server.is_alive for server in known):
        return known
    stop(place)
    port_of = {server.name: server.port for server in known}
    return start(place, directory_port=port_of["directory"], mail_port=port_of["mail"])


def stop(place: Path) -> int:
    """End the servers of one installation; return how many were running."""
    running = [server for server in _read_servers_file(place) if server.is_alive]
    for server in running:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while any(server.is_alive for server in running) and time.monotonic() < deadline:
        _reap(running)
        time.sleep(0.02)
    for server in running:
        if server.is_alive:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
    _reap(running)
    return len(running)


def wait_for(is_so: Callable[[], bool], server: str, seconds: float = _READY_SECONDS) -> None:
    """Poll until `is_so`; StandfastError names `server` after the deadline."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise StandfastError(f"{server} did not answer within {seconds:g} s")
        time.sleep(0.02)


class Accounts:
    """The directory as its administrator uses it, without Standfast."""

    def __init__(self, place: Path, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/v2"
        self._token = (place / TOKEN_FILE).read_text().strip()

    def create(self, names: Sequence[str]) -> None:
        """Add active accounts."""
        with self._client() as client:
            for name in names:
                client.post(
                    "/Users", json={"schemas": [_USER_SCHEMA], "userName": name, "active": True}
                ).raise_for_status()

    def active(self) -> dict[str, bool]:
        """Return, for every account, whether it is active."""
        with self._client() as client:
            found: dict[str, bool] = {}
            while True:
                page = client.get("/Users", params={"startIndex": len(found) + 1, "count": 100})
                body = page.raise_for_status().json()
                accounts = body.get("Resources", [])
                found |= {account["userName"]: account["active"] for account in accounts}
                if not accounts or len(found) >= body["totalResults"]:
                    return found

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {self._token}"},
            trust_env=False,
            timeout=10.0,
        )


def _read_servers_file(place: Path) -> list[Running]:
    try:
        return [Running(**entry) for entry in json.loads((place / SERVERS_FILE).read_text())]
    except FileNotFoundError:
        raise UsageError(
            f"{place}: no servers of a demo are here. Create a demo with `standfast demo`"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise StandfastError(
            f"{place / SERVERS_FILE} cannot be read ({type(error).__name__}); end its servers by "
            "hand"
        ) from None


def _launch(name: str, port: int, arguments: Sequence[str], log: Path) -> Running:
    # Do not use Popen: it would warn that this process does not wait for the end of the server.
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", *arguments],
        {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,  # Ctrl-C in the tour must not reach the server, and `stop` ends the group
    )
    return Running(name=name, port=port, pid=pid, began=_start_time(pid))


def _start_time(pid: int) -> str:
    """Return a process's start time (field 22 of proc(5)), or "" if it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _is_decided(server: Running) -> bool:
    return _answers(server.port) or not server.is_alive


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
        # While no server listens on the port, the kernel may assign this port to the probe, which
        # then connects to itself.
        return bool(probe.getsockname() != probe.getpeername())


def _reap(running: Sequence[Running]) -> None:
    """Wait for ended child processes, which would otherwise stay zombies."""
    for server in running:
        with suppress(ChildProcessError):
            os.waitpid(server.pid, os.WNOHANG)
