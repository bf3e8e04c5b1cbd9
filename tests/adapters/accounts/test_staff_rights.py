"""A staff list read from OpenLDAP with the connector's own account."""

from pathlib import Path

from standfast.config.value_types import SecretReference
from standfast.usecases.people.staff_lists import ListedPerson, read_ldap
from tests.adapters.accounts.conftest import with_account
from tests.adapters.accounts.rights import block
from tests.servers import need
from tests.servers.slapd import PEOPLE, running_slapd
from tests.usecases.installations import furnish, installation_at

SETTINGS = """
[accounts.staff]
kind = "openldap"
host = "localhost"
port = {port}
ca_file = "{ca_file}"
bind_dn = "{bind_dn}"
password = "env:LDAP_PASSWORD"
base = "{base}"
filter = "(objectClass=inetOrgPerson)"
"""


def test_documented_right_suffices_for_staff_lists(tmp_path: Path) -> None:
    need("slapd", "apt-get install slapd ldap-utils")
    need("ldap3", "it is the LDAP client; install the extra `ldap`")
    # A separate server, because the right would remain for other tests.
    with running_slapd() as slapd:
        account = with_account(slapd)
        slapd.add("ada", displayName=["Ada Quill"], mail=["ada@example.com"])
        config_file = furnish(tmp_path)
        with config_file.open("a") as file:
            file.write(
                SETTINGS.format(
                    port=account.port,
                    ca_file=account.ca_file,
                    bind_dn=account.bind_dn,
                    base=PEOPLE,
                )
            )

        def reveal(reference: SecretReference) -> str:
            return account.password

        def listed() -> ListedPerson:
            with installation_at(config_file) as installation:
                (found,) = read_ldap("staff", installation.config, reveal)
            return found

        assert listed().member.full_name == "ada", "the right to lock shows nothing of a person"
        slapd.apply(
            block("openldap", "`standfast people import --ldap` needs"), to_configuration=True
        )
        member = listed().member
    assert (member.full_name, member.mail) == ("Ada Quill", "ada@example.com")
    assert member.accounts == ("staff:ada",)
