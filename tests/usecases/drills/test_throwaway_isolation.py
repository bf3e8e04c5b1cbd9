"""Throwaway servers reach no network and listen at no TCP port."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from standfast.usecases.drills.throwaway import ThrowawayServer, mariadb, postgresql
from standfast.usecases.drills.throwaway.mariadb import ThrowawayMariadb
from standfast.usecases.drills.throwaway.postgresql import ThrowawayPostgresql
from standfast.usecases.drills.throwaway.server_process import Isolation, find_isolation
from tests.servers import need, skip_or_fail
from tests.servers.postgres import Postgres
from tests.usecases.drills.database_installation import drills_folder, without_network_namespace

pytestmark = pytest.mark.xdist_group("databases")
LISTENING = "0A"  # a state in /proc/net/tcp
NewServer = Callable[[Isolation], ThrowawayServer]


@pytest.fixture(params=["postgresql", "mariadb"])
def new_server(request: pytest.FixtureRequest) -> Iterator[NewServer]:
    """Create a server of each kind in a folder for drills."""
    with drills_folder() as folder:
        if request.param == "postgresql":
            live: Postgres = request.getfixturevalue("postgres_server")
            of_postgresql = postgresql.find_programs(live.programs, ())
            yield lambda isolation: ThrowawayPostgresql(
                folder / "run" / "0", of_postgresql, isolation, ()
            )
        else:
            need("mariadb-install-db", "apt-get install mariadb-server")
            of_mariadb = mariadb.find_programs(None, ())
            yield lambda isolation: ThrowawayMariadb(
                folder / "run" / "0", of_mariadb, isolation, ()
            )


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network that a process sees, and the TCP ports that it opened."""

    interfaces: frozenset[str]
    routes: int
    listening: frozenset[str]  # the sockets


def network_of(pid: int) -> Network:
    """Read the network of a process; raise `OSError` if it has ended."""
    of_process = Path(f"/proc/{pid}")

    def rows(table: str) -> list[list[str]]:
        return [line.split() for line in (of_process / "net" / table).read_text().splitlines()]

    listening = {
        row[9] for table in ("tcp", "tcp6") for row in rows(table)[1:] if row[3] == LISTENING
    }
    opened = set()
    for descriptor in (of_process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            opened.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    return Network(
        interfaces=frozenset(row[0] for row in rows("dev") if row[0].endswith(":")),
        routes=len(rows("route")[1:]),
        listening=frozenset(listening & opened),
    )


@contextmanager
def started(server: ThrowawayServer) -> Iterator[list[Network]]:
    """Start a server; yield the network of each of its processes."""
    try:
        server.start()
        networks = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):  # the process has ended
                if link.readlink().is_relative_to(server.process.folder):
                    networks.append(network_of(int(link.parent.name)))
        assert networks
        yield networks
    finally:
        server.end()


def refusal_of_namespaces() -> str:
    """Return the kernel's reason to refuse a network namespace, or ""."""
    own_user = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    done = subprocess.run(
        ["unshare", "--net", *own_user, "--", "true"], capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else ""


def test_server_sees_no_interface_except_loopback(new_server: NewServer) -> None:
    need("unshare", "apt-get install util-linux")
    if refusal := refusal_of_namespaces():
        skip_or_fail(f"this kernel refuses a network namespace: {refusal}")
    server = new_server(find_isolation())
    with started(server) as networks:
        assert server.isolation_gap == ""
        for network in networks:
            assert network.interfaces == frozenset({"lo:"})
            assert (network.routes, network.listening) == (0, frozenset())


def test_server_without_namespace_listens_at_no_port(new_server: NewServer) -> None:
    with started(new_server(without_network_namespace("a test"))) as networks:
        assert [network for network in networks if network.listening] == []
    with socket.create_server(("127.0.0.1", 0)):
        assert network_of(os.getpid()).listening, "a listening socket is found"
