"""Staff lists from a real Active Directory (Samba), read-only account."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.config.value_types import SecretReference
from standfast.usecases.people.staff_lists import ListedPerson, read_ldap
from tests.servers.samba import STAFF, Samba
from tests.usecases.installations import furnish, installation_at

pytestmark = pytest.mark.xdist_group("samba")

PASSWORD = "Of-the-r3ader"
SETTINGS = """
[accounts.domain]
kind = "active_directory"
host = "localhost"
ca_file = "{ca_file}"
bind_dn = "reader@example.com"
password = "env:AD_PASSWORD"
base = "OU=Import,{staff}"
"""


@pytest.fixture
def people(samba_server: Samba) -> Iterator[Samba]:
    """Three people in their own unit, in groups with roles, and a reader."""
    samba_server.shell(
        """
        samba-tool user create reader "$PASSWORD"
        samba-tool ou create OU=Import,OU=Staff
        for group in "Team Leads" "Legal (EU)" duty-manager; do samba-tool group add "$group"; done
        for name in ada ben eve; do
          samba-tool user create "$name" Right-pass-1 --userou=OU=Import,OU=Staff \
            --given-name="${name^}" --surname=Quill --mail-address="$name@example.com" \
            --telephone-number="020 7946 0001"
        done
        for group in "Team Leads" "Legal (EU)" duty-manager; do
          samba-tool group addmembers "$group" ada
        done
        samba-tool user disable ben
        """,
        PASSWORD=PASSWORD,
    )
    yield samba_server
    samba_server.shell(
        """
        for name in ada ben eve reader; do samba-tool user delete "$name"; done
        for group in "Team Leads" "Legal (EU)" duty-manager; do
          samba-tool group delete "$group"
        done
        samba-tool ou delete OU=Import,OU=Staff
        """
    )


def listed(folder: Path, samba: Samba) -> dict[str, ListedPerson]:
    config_file = furnish(folder)
    with config_file.open("a") as file:
        file.write(SETTINGS.format(ca_file=samba.ca_file, staff=STAFF))

    def reveal(reference: SecretReference) -> str:
        return PASSWORD

    with installation_at(config_file) as installation:
        return {one.member.key: one for one in read_ldap("domain", installation.config, reveal)}


def test_domain_groups_become_roles(tmp_path: Path, people: Samba) -> None:
    found = listed(tmp_path, people)
    assert set(found) == {"ada", "ben", "eve"}
    ada = found["ada"].member
    assert (ada.full_name, ada.mail, ada.phone) == (
        *("Ada Quill", "ada@example.com"),
        "020 7946 0001",
    )
    assert ada.accounts == ("domain:ada",)
    assert ada.roles == ("duty-manager", "team-leads"), "brackets are in no role"
    assert found["eve"].member.roles == ()
    assert {name for name, one in found.items() if one.has_left} == {"ben"}
