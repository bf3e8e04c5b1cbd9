"""A real Active Directory domain controller (Samba, of Debian).

- `samba_server`: session; the domain EXAMPLE.COM, with people below `OU=Staff`.
- Its ports are fixed (389, 636, 3268, 3269): its tests are in the group `samba`. If a port is in
  use, they are skipped, or fail where servers are required. It needs root.
- Only its LDAP service runs, with its own certificate, in its own folder.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest

from tests.servers import answers, installed, need, skip_or_fail, wait_until
from tests.servers.certificate import write_certificate

STAFF = "OU=Staff,DC=example,DC=com"
PORTS = (389, 636, 3268, 3269)
_PASSWORD = "Of-the-4dministrator"
_WHY = "apt-get install samba-ad-dc samba-ad-provision"


@dataclass(frozen=True, kw_only=True)
class Samba:
    """A running domain controller."""

    ca_file: Path
    database: Path

    def add(self, name: str, *, password: str = "Right-pass-1", cn: str = "") -> str:
        """Add a person to the staff; return the DN."""
        from ldap3.utils.dn import escape_rdn

        dn = f"CN={escape_rdn(cn or name)},{STAFF}"
        attributes = {
            "sAMAccountName": name,
            "userPrincipalName": f"{name}@example.com",
            "userAccountControl": "512",
            "unicodePwd": f'"{password}"'.encode("utf-16-le"),
        }
        self.ask(lambda admin: admin.add(dn, "user", attributes))
        return dn

    def replace(self, dn: str, values: Mapping[str, Sequence[str | bytes]]) -> None:
        """Replace attributes as an administrator would."""
        changes = {name: [("MODIFY_REPLACE", list(new))] for name, new in values.items()}
        self.ask(lambda admin: admin.modify(dn, changes))

    def read(self, dn: str, attribute: str) -> str:
        """Read an attribute as an administrator would."""
        response = self.ask(
            lambda admin: admin.search(
                dn, "(objectClass=*)", search_scope="BASE", attributes=[attribute]
            )
        )
        return str(response[0]["raw_attributes"][attribute][0].decode())

    def connect(self, user: str, password: str) -> Any | None:
        """Sign in; return the connection, or None if the server refuses."""
        import ldap3

        tls = ldap3.Tls(ca_certs_file=str(self.ca_file))
        server = ldap3.Server("127.0.0.1", 636, use_ssl=True, tls=tls, get_info=ldap3.NONE)
        connection = ldap3.Connection(server, user, password)
        if connection.bind():
            return connection
        connection.unbind()
        return None

    def ask(self, what: Any) -> Any:
        """Send a request as the domain's administrator."""
        connection = self.connect("administrator@example.com", _PASSWORD)
        assert connection is not None
        try:
            assert what(connection), connection.result
            return connection.response
        finally:
            connection.unbind()

    def shell(self, commands: str, **variables: str) -> None:
        """Run commands of an administrator on the controller itself."""
        there = f'samba-tool() {{ command samba-tool "$@" -H {self.database}; }}\n'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", there + commands],
            env={**os.environ, **variables},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def running_samba() -> Iterator[Samba]:
    """Provision and run a domain in a new folder; end and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="sf-ad-"))
    try:
        made = subprocess.run(
            [
                "samba-tool", "domain", "provision", "--realm=EXAMPLE.COM", "--domain=EXAMPLE",
                "--server-role=dc", "--dns-backend=NONE", f"--adminpass={_PASSWORD}",
                f"--targetdir={folder}", "--host-ip=127.0.0.1", "--host-name=dc",
                "--option=interfaces=lo", "--option=bind interfaces only=yes",
            ],
            capture_output=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()[-2000:]
        certificate, key = write_certificate(folder)
        key.chmod(0o600)
        samba = Samba(ca_file=certificate, database=folder / "private/sam.ldb")
        samba.shell("samba-tool ou create OU=Staff")
        options = {
            "server services": "ldap",
            "prefork children": "1",
            "pid directory": folder,
            "ncalrpc dir": folder / "ncalrpc",
            "log file": folder / "log",
            "tls keyfile": key,
            "tls certfile": certificate,
            "tls cafile": certificate,
            "ldap server require strong auth": "no",  # so that a relay can stand before port 389
        }
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [
                    installed("samba"), "-s", str(folder / "etc/smb.conf"), "-F", "-M", "prefork",
                    *(f"--option={name}={value}" for name, value in options.items()),
                ],
                stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                wait_until(lambda: process.poll() is not None or answers(636), "Samba answers")
                assert process.poll() is None, (folder / "output").read_text()[-2000:]
                yield samba
            finally:
                process.terminate()
                process.wait(timeout=60)
                wait_until(lambda: not answers(636), "Samba is gone")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def samba_server() -> Iterator[Samba]:
    """A domain controller for this test process."""
    need("ldap3", "it is the LDAP client; install the extra `ldap`")
    need("samba", _WHY)
    need("samba-tool", _WHY)
    if os.geteuid() != 0:
        _cannot_run("its ports need root")
    with _only_one():
        if taken := [port for port in PORTS if answers(port)]:
            _cannot_run(f"port {taken[0]} is taken")
        with running_samba() as server:
            yield server


@contextmanager
def _only_one() -> Iterator[None]:
    """Exclude other test runs on this machine while the ports are in use."""
    with (Path(tempfile.gettempdir()) / "sf-samba.lock").open("w") as lock:
        wait_until(lambda: _is_ours(lock), "another run's Samba is gone", seconds=300)
        yield


def _is_ours(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cannot_run(why: str) -> NoReturn:
    skip_or_fail(f"Samba cannot run here: {why}")
