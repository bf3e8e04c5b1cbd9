"""Options appear in tracebacks and logs, so their text has no secret."""

import pytest

from standfast.adapters.audience_sources.databases import DatabaseOptions
from standfast.adapters.clients.ldap.client import LdapServer

SECRET = "correct horse"
HOST = "db.example.com"


@pytest.mark.parametrize(
    "options",
    [
        LdapServer(host=HOST, bind_dn="cn=standfast", password=SECRET, base="dc=example"),
        DatabaseOptions(host=HOST, port=5432, database="crm", user="reader", password=SECRET),
    ],
    ids=lambda options: type(options).__name__,
)
def test_options_show_where_they_lead_and_no_password(options: object) -> None:
    assert HOST in repr(options)
    assert SECRET not in repr(options)
