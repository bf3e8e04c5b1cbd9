"""Own Prefect server of an installation: start, port, health, end.

`deployments.py` registers work with it.

Rules
- The server's telemetry is off, its home is the private folder `serve.prefect_home`, and it listens
  on loopback.
- The server requires a secret from its clients. Every user of the host, and even web pages in a
  browser on the host, can connect to loopback. A client that can change a deployment can run any
  command as the user of the server.
- The environment of the server contains none of the secrets of `standfast serve`, because it needs
  none.
- No client of this program starts another server: a client uses this server, or fails at once.
- If `standfast serve` is killed, its server continues, and the next `serve` finds it by a note in
  the server's home. If the found server does not answer, it is ended, because otherwise two servers
  might use the same database. The new server uses the address of the ended server, because running
  flows and people use this address. If another program listens there, the new server uses another
  port.
- Other users of the host can listen on loopback too. Therefore an answer is accepted only if a
  process of this user listens at the address.
- A server is ended with its process group, and in the end with SIGKILL, because it may ignore other
  signals.
- Data of runs that ended 90 days ago is deleted from Prefect's database, which would otherwise grow
  by a gigabyte a year. The ledger, the installation's own database, keeps the results.
"""

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from standfast.errors import StandfastError, Unavailable

SERVER_COMMAND = (sys.executable, "-m", "prefect", "server", "start")
_HOST = "127.0.0.1"
_HOME = b"PREFECT_HOME="
_NOTE = "server.json"
_OF_SERVER, _OF_CLIENT = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV")
_KEPT_PREFIXES = ("LC_", "PYTHON", "PREFECT_")
_LISTENS = "0A"  # state of a listening socket in /proc/net/tcp
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 1.0
PROBE_SECONDS = 0.5
SLOW_ANSWER_SECONDS = 10.0  # a busy server is not dead
STARTS_WITHIN_SECONDS = 90.0  # the first start creates its database, slowly on a busy machine


@dataclass(frozen=True, kw_only=True)
class PrefectServer:
    """A server that answers at `url`; `pid` is 0 for the server of a site.

    Several hosts share the server of a site. Standfast neither starts nor ends such a server.
    """

    url: str
    pid: int
    process: subprocess.Popen[bytes] | None = None  # if it was started here
    secret: str = field(default="", repr=False)  # "name:password", only of our own server

    def end(self) -> None:
        """End the server, unless it is the server of a site."""
        if self.pid:
            stop(self.pid)
        if self.process is not None:
            self.process.wait()


def environment(home: Path, url: str, base: Mapping[str, str], secret: str = "") -> dict[str, str]:
    """Return the environment for processes that use the server at `url`."""
    root = str(Path(__file__).parents[1])
    python_path = [root, *filter(None, base.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **base,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(python_path)),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # DO_NOT_TRACK alone is not enough
        # By default only events are removed from the database.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "DO_NOT_TRACK": "1",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLIENT_MAX_RETRIES": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the shortest; silent runs are marked crashed
        **({_OF_SERVER: secret, _OF_CLIENT: secret} if secret else {}),
    }


def _without_secrets(base: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in base.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }


def is_healthy(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether the API at this address answers in time."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("GET", f"{parts.path}/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def find(home: Path) -> PrefectServer | None:
    """Return the running server of an earlier `serve`, or None."""
    server = _noted_server(home)
    if not server or not server.secret:  # an older version started it without a secret
        return None
    is_there = is_healthy(server.url, SLOW_ANSWER_SECONDS) and _is_own(server.url)
    return server if is_there else None


def _noted_server(home: Path) -> PrefectServer | None:
    """Return the server in the note if its process runs, even if it hangs."""
    server = _read_note(home)
    return server if server and _is_at_home(server.pid, home) else None


def _read_note(home: Path) -> PrefectServer | None:
    try:
        note = json.loads((home / _NOTE).read_bytes())
        secret = str(note.get("secret", ""))
        return PrefectServer(url=str(note["url"]), pid=int(note["pid"]), secret=secret)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_note(home: Path, server: PrefectServer) -> None:
    note = {"url": server.url, "pid": server.pid, "secret": server.secret}
    descriptor = os.open(home / _NOTE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)  # an older Standfast wrote it without a secret and mode
        json.dump(note, file)


def start(
    home: Path,
    base: Mapping[str, str],
    *,
    port: int | None = None,
    is_given_up: Callable[[], bool] = lambda: False,
    seconds: float = STARTS_WITHIN_SECONDS,
) -> PrefectServer:
    """Start a server with this home, replacing any other; wait for it.

    If the server does not answer in time, or if `is_given_up` returns True, end the server and
    raise `Unavailable`.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(home / "server.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise StandfastError(
            f"Prefect's folder {home}: cannot be written: {error.strerror}. Correct it, or set "
            "serve.prefect_home."
        ) from error
    if earlier := _noted_server(home):
        earlier.end()
    before = _read_note(home)
    port = port or (urlsplit(before.url).port if before else None)
    if port is None or not _is_free(port):
        port = _free_port()
    url = f"http://{_HOST}:{port}/api"
    # Reuse the secret: running flows use it.
    secret = (before and before.secret) or f"standfast:{secrets.token_urlsafe(32)}"
    try:
        process = subprocess.Popen(
            [*SERVER_COMMAND, f"--host={_HOST}", f"--port={port}"],
            env=environment(home, url, _without_secrets(base), secret),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    server = PrefectServer(url=url, pid=process.pid, process=process, secret=secret)
    _write_note(home, server)
    deadline = time.monotonic() + seconds
    while not (is_healthy(url) and _is_own(url)):
        has_ended = process.poll() is not None
        if has_ended or is_given_up() or time.monotonic() > deadline:
            stop(process.pid)
            process.wait()
            why = (
                f"did not start; {home / 'server.log'} says why"
                if has_ended
                else f"did not answer within {seconds:.0f} s; a busy machine takes longer"
            )
            raise Unavailable(f"the Prefect server {why}. Incidents continue without it")
        time.sleep(_POLL_SECONDS)
    return server


def stop(*pids: int) -> None:
    """End process groups; each process is the leader of its own group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and any(_is_running(pid) for pid in pids):
            time.sleep(_POLL_SECONDS / 2)


def _is_running(pid: int) -> bool:
    with suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_at_home(pid: int, home: Path) -> bool:
    """Return whether the process uses this home.

    Another process may have the number of an ended server.
    """
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        homes = [variable for variable in variables if variable.startswith(_HOME)]
        return any(os.path.samefile(variable.removeprefix(_HOME), home) for variable in homes)  # noqa: PTH121 - bytes
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _is_own(url: str) -> bool:
    """Return whether a process of this user listens at an address on loopback."""
    address = (
        f"{int.from_bytes(socket.inet_aton(_HOST), sys.byteorder):08X}:{urlsplit(url).port:04X}"
    )
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    sockets = (line.split() for line in lines)  # columns: number, address, peer, state, …; 7: user
    listening = [entry for entry in sockets if entry[1] == address and entry[3] == _LISTENS]
    return any(int(entry[7]) == os.geteuid() for entry in listening)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
