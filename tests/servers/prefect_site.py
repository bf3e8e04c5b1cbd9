"""Prefect as a site runs it: PostgreSQL, Redis, API and services.

The environment is that of `deploy/site/prefect.env`, and the commands are those of its units, with
the addresses of this machine. A forwarder in this process stands for the load balancer: it connects
to the first API process that accepts.
"""

import os
import re
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.prefect_server import is_healthy
from tests.servers import free_port, installed, need, wait_until
from tests.servers.postgres_cluster import Cluster, debian_cluster

SITE = Path(__file__).parents[2] / "deploy/site"
STARTS_WITHIN_SECONDS = 240


def variables(file: Path) -> dict[str, str]:
    """Read the variables of an environment file."""
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def unit_command(unit: str, setting: str = "ExecStart") -> list[str]:
    """Return the command of a unit without the path of its program."""
    (line,) = re.findall(rf"^{setting}=\S+/bin/(.+)$", (SITE / unit).read_text(), re.MULTILINE)
    return str(line).split()


class PrefectSite:
    """The server processes of one site; each may be killed and started again."""

    def __init__(self, folder: Path, postgres: Cluster) -> None:
        self._folder = folder
        self.redis_port, self._ports = free_port(), (free_port(), free_port())
        self._balancer = Balancer(self._ports)
        self.url = f"http://127.0.0.1:{self._balancer.port}/api"
        # Of a database for Standfast on the same server.
        self.ledger_url = f"postgresql+psycopg://postgres@127.0.0.1:{postgres.port}/ledger"
        self.secret = f"standfast:{secrets.token_hex(8)}"
        shipped = {
            name: value.replace("redis://redis:6379", f"redis://127.0.0.1:{self.redis_port}")
            for name, value in variables(SITE / "prefect.env").items()
        }
        self._env = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **shipped,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_DATABASE_CONNECTION_URL": (
                f"postgresql+asyncpg://postgres@127.0.0.1:{postgres.port}/prefect"
            ),
            "PREFECT_SERVER_API_AUTH_STRING": self.secret,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all processes in the documented order; wait for both replicas."""
        self.start_redis()
        program, *arguments = unit_command("prefect-services.service", "ExecStartPre")
        command = [installed(program), *arguments]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        self.start_services()
        for number in range(len(self._ports)):
            # One after the other, because two simultaneous first starts collide.
            self.start_api(number)

    def start_redis(self) -> None:
        self._run(
            "redis", installed("redis-server"), "--port", str(self.redis_port),
            "--bind", "127.0.0.1", "--appendonly", "yes", "--dir", str(self._folder),
        )  # fmt: skip
        wait_until(lambda: accepts(self.redis_port), "Redis answers")

    def start_services(self) -> None:
        program, *arguments = unit_command("prefect-services.service")
        self._run("services", installed(program), *arguments)

    def start_api(self, number: int) -> None:
        program, *arguments = unit_command("prefect-api@.service")
        port = self._ports[number]
        filled = [word.replace("%i", str(port)) for word in arguments]
        self._run(f"api-{number}", installed(program), *filled)
        url = f"http://127.0.0.1:{port}/api"
        wait_until(lambda: is_healthy(url, 5), f"API {number}", seconds=STARTS_WITHIN_SECONDS)

    def kill(self, name: str) -> None:
        """Kill a process with its children."""
        process = self._processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        for name in [*self._processes]:
            self.kill(name)
        self._balancer.end()

    def _run(self, name: str, *command: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip


class Balancer:
    """A forwarder of connections to the first of several ports that accepts."""

    def __init__(self, ports: tuple[int, ...]) -> None:
        self._ports = ports
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client:
            for port in self._ports:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as server:
                    server.settimeout(None)
                    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                    back.start()
                    _copy(client, server)
                    back.join()
                    return


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def accepts(port: int) -> bool:
    """Return whether a process listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_site(folder: Path) -> Iterator[PrefectSite]:
    """Run the processes of a site and its database; kill them at the end."""
    need("redis-server", "apt-get install redis-server")
    need("prefect_redis", "it connects Prefect with Redis; install the extra `site`")
    with debian_cluster() as postgres:  # Prefect needs pg_trgm, which the wheel's server lacks
        postgres.initialise()
        with postgres.started():
            postgres.execute("CREATE DATABASE prefect", "CREATE DATABASE ledger")
            site = PrefectSite(folder, postgres)
            try:
                site.start()
                yield site
            finally:
                site.end()
