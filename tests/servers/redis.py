"""A real Redis from Debian: one server a process, with an ACL file.

- `redis_server`: session; it listens on loopback at a free port, at another one with TLS, and on a
  socket file in its own folder. It keeps no data.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import answers, find_program, free_port, need, wait_until
from tests.servers.certificate import write_certificate


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """A running server; `default` has all rights and no password."""

    port: int
    tls_port: int
    ca_file: Path
    socket: Path
    acl_file: Path

    def ask(self, *words: str) -> Any:
        """Run one command as the administrator."""
        client = self.connect()
        try:
            return client.execute_command(*words)
        finally:
            client.close()

    def connect(self, user: str | None = None, password: str | None = None) -> Any:
        """Return a client with one connection of its own."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return redis.Redis(
            port=self.port,
            username=user,
            password=password,
            single_connection_client=True,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
        )


@contextmanager
def running_redis(*, with_acl_file: bool = True) -> Iterator[RedisServer]:
    """Start Redis in a new folder; kill it and remove the folder."""
    folder = Path(tempfile.mkdtemp(prefix="sf-redis-"))
    try:
        acl_file = folder / "users.acl"
        acl_file.write_text("user default on nopass ~* &* +@all\n")
        port, tls_port = free_port(), free_port()
        certificate, key = write_certificate(folder)
        program = find_program("redis-server")
        assert program is not None
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                    "--appendonly", "no", "--dir", str(folder), "--daemonize", "no",
                    "--unixsocket", str(folder / "s.sock"), "--tls-port", str(tls_port),
                    "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
                    "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no",
                    *(("--aclfile", str(acl_file)) if with_acl_file else ()),
                ],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                wait_until(lambda: process.poll() is not None or answers(port), "Redis answers")
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                server = RedisServer(
                    port=port,
                    tls_port=tls_port,
                    ca_file=certificate,
                    socket=folder / "s.sock",
                    acl_file=acl_file,
                )
                server.ask("PING")  # the server answers when the other listeners are open, too
                yield server
            finally:
                process.kill()
                process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for this test process."""
    need("redis-server", "apt-get install redis-server")
    need("redis", "it is Redis's driver; install the extra `redis`")
    with running_redis() as server:
        yield server
