"""Shared fixtures: a scripted SCIM directory, an account, OpenLDAP."""

import uuid

import pytest

from standfast.adapters.clients.ldap.client import LdapServer
from tests.adapters.accounts.contract import House
from tests.adapters.accounts.rights import block
from tests.adapters.accounts.rotation_contract import recipient
from tests.adapters.accounts.scripted_scim import connector, directory
from tests.memory_disk import tmp_path
from tests.servers.slapd import PEOPLE, SUFFIX, Slapd

__all__ = ["connector", "directory", "recipient", "tmp_path"]


@pytest.fixture
def alice(house: House) -> str:
    """Add an account that no test has changed yet."""
    name = f"alice-{uuid.uuid4().hex[:8]}"
    house.add(name)
    return name


@pytest.fixture(scope="session")
def openldap_account(slapd_server: Slapd) -> LdapServer:
    """Create the connector's account in OpenLDAP, as docs/accounts.md says."""
    return with_account(slapd_server)


def with_account(slapd: Slapd) -> LdapServer:
    """Set OpenLDAP up as docs/accounts.md says; return connector settings."""
    account = block("openldap", "the connector's account").replace("…", "of-the-connector")
    slapd.apply(account)
    for words in ("the rights to see names", "`monitor` needs", "`accounts.rotate` needs"):
        slapd.apply(block("openldap", words), to_configuration=True)
    return LdapServer(
        host="localhost",
        port=slapd.tls_port,
        ca_file=slapd.ca_file,
        bind_dn=f"cn=standfast,ou=services,{SUFFIX}",
        password="of-the-connector",
        base=PEOPLE,
    )
