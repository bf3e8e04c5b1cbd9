"""A real OpenLDAP with the password policy overlay, from Debian.

- `slapd_server`: session; people are below `ou=people,dc=example,dc=com`. Its monitor is on.
- It listens without TLS, with STARTTLS and with TLS, with its own certificate.
- The connector's account has the rights of docs/accounts.md, applied as written there.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.memory_disk import memory_folder
from tests.servers import answers, free_port, installed, need, wait_until
from tests.servers.certificate import write_certificate

SUFFIX = "dc=example,dc=com"
PEOPLE = f"ou=people,{SUFFIX}"
STAFF = """
[accounts.staff]
kind = "openldap"
host = "localhost"
port = {port}
ca_file = "{ca_file}"
bind_dn = "cn=admin,{suffix}"
password = "env:LDAP_PASSWORD"
base = "{base}"
filter = "(employeeType={tag})"
"""  # template of a configuration
_PASSWORD = "of-the-administrator"
_WHY = "apt-get install slapd ldap-utils"

_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
moduleload ppolicy
pidfile {folder}/pid
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
sizelimit 100
database config
rootpw {password}
database mdb
suffix "dc=example,dc=com"
rootdn "cn=admin,dc=example,dc=com"
rootpw {password}
directory {folder}/db
dbnosync
maxsize 104857600
index objectClass,uid,entryUUID eq
overlay ppolicy
ppolicy_default "cn=people,ou=policies,dc=example,dc=com"
ppolicy_use_lockout
access to attrs=userPassword by self write by anonymous auth by * none
access to * by self write by users read by * none
database monitor
access to * by * none
"""
_ENTRIES = """
dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=services,dc=example,dc=com
objectClass: organizationalUnit
ou: services

dn: ou=policies,dc=example,dc=com
objectClass: organizationalUnit
ou: policies

dn: cn=people,ou=policies,dc=example,dc=com
objectClass: pwdPolicy
objectClass: applicationProcess
cn: people
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 5

dn: cn=lenient,ou=policies,dc=example,dc=com
objectClass: pwdPolicy
objectClass: applicationProcess
cn: lenient
pwdAttribute: userPassword
pwdLockout: FALSE
"""


@dataclass(frozen=True, kw_only=True)
class Slapd:
    """A running server."""

    port: int
    tls_port: int
    ca_file: Path
    log: Path  # the requests that slapd logs

    def add(self, name: str, *, password: str = "right", **attributes: Sequence[str]) -> str:
        """Add a person below PEOPLE; return the DN."""
        from ldap3.utils.dn import escape_rdn

        dn = f"uid={escape_rdn(name)},{PEOPLE}"
        self.ask(
            lambda admin: admin.add(
                dn,
                "inetOrgPerson",
                {"uid": name, "cn": "A", "sn": "B", "userPassword": password, **attributes},
            )
        )
        return dn

    def replace(self, dn: str, values: Mapping[str, Sequence[str]]) -> None:
        """Replace attributes as an administrator would."""
        changes = {name: [("MODIFY_REPLACE", list(new))] for name, new in values.items()}
        self.ask(lambda admin: admin.modify(dn, changes))

    def read(self, dn: str, *attributes: str) -> dict[str, list[bytes]]:
        """Read attributes as an administrator would."""
        (entry,) = self.ask(
            lambda admin: admin.search(
                dn, "(objectClass=*)", search_scope="BASE", attributes=list(attributes)
            )
        )
        return dict(entry["raw_attributes"])

    def dump(self) -> list[Any]:
        """Return every entry with all of its stored attributes."""
        return list(
            self.ask(
                lambda admin: admin.search(
                    SUFFIX, "(objectClass=inetOrgPerson)", attributes=["*"], paged_size=10_000
                )
            )
        )

    def connect(self, dn: str, password: str) -> Any | None:
        """Sign in; return the connection, or None if the server refuses."""
        import ldap3

        connection = ldap3.Connection(
            ldap3.Server("127.0.0.1", self.port, get_info=ldap3.NONE), dn, password
        )
        if connection.bind():
            return connection
        connection.unbind()
        return None

    def ask(self, what: Any) -> Any:
        """Send a request as the administrator of the people."""
        connection = self.connect(f"cn=admin,{SUFFIX}", _PASSWORD)
        assert connection is not None
        try:
            assert what(connection), connection.result
            return connection.response
        finally:
            connection.unbind()

    def apply(self, ldif: str, *, to_configuration: bool = False) -> None:
        """Apply LDIF with ldapmodify, to people or the server's configuration."""
        who = "cn=config" if to_configuration else f"cn=admin,{SUFFIX}"
        done = subprocess.run(
            [
                "ldapmodify", *(() if to_configuration else ("-a",)), "-x",
                "-H", f"ldap://127.0.0.1:{self.port}", "-D", who, "-w", _PASSWORD,
            ],
            input=ldif.encode(), capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def running_slapd() -> Iterator[Slapd]:
    """Start slapd in a new folder; kill it and remove the folder."""
    folder = Path(tempfile.mkdtemp(prefix="sf-ldap-", dir=memory_folder()))
    try:
        (folder / "db").mkdir()
        certificate, key = write_certificate(folder)
        configuration = folder / "slapd.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=folder, certificate=certificate, key=key, password=_PASSWORD
            )
        )
        _run("slapadd", "-q", "-b", SUFFIX, "-f", str(configuration), given=_ENTRIES)
        server = Slapd(
            port=free_port(), tls_port=free_port(), ca_file=certificate, log=folder / "log"
        )
        addresses = f"ldap://127.0.0.1:{server.port} ldaps://127.0.0.1:{server.tls_port}"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [installed("slapd"), "-f", str(configuration), "-h", addresses, "-d", "stats"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                wait_until(
                    lambda: process.poll() is not None or answers(server.tls_port), "slapd answers"
                )
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                yield server
            finally:
                process.kill()
                process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(program: str, *arguments: str, given: str) -> None:
    done = subprocess.run(
        [installed(program), *arguments], input=given.encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="session")
def slapd_server() -> Iterator[Slapd]:
    """An OpenLDAP server for this test process."""
    need("ldap3", "it is the LDAP client; install the extra `ldap`")
    need("slapd", _WHY)
    need("ldapmodify", _WHY)
    with running_slapd() as server:
        yield server
