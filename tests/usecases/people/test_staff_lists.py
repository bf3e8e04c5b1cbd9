"""Staff lists from OpenLDAP; tests/cli/people tests the other sources."""

import uuid
from pathlib import Path

import pytest

from standfast.errors import Unavailable, UsageError
from standfast.usecases.core.installation import Installation
from standfast.usecases.people.staff_lists import read_ldap
from tests.servers.slapd import PEOPLE, STAFF, SUFFIX, Slapd
from tests.usecases.installations import furnish, installation_at

pytestmark = pytest.mark.xdist_group("slapd")


class Fixed:
    """A resolver that returns one password."""

    def __init__(self, password: str) -> None:
        self.password = password

    def __call__(self, reference: object) -> str:
        return self.password


def furnished(folder: Path, slapd: Slapd, tag: str) -> Path:
    config_file = furnish(folder)
    with config_file.open("a") as file:
        file.write(
            STAFF.format(
                port=slapd.tls_port, ca_file=slapd.ca_file, suffix=SUFFIX, base=PEOPLE, tag=tag
            )
        )
    return config_file


def test_people_are_read_from_ldap(tmp_path: Path, slapd_server: Slapd) -> None:
    tag = uuid.uuid4().hex
    ada, ben = f"Ada-{tag}", f"ben-{tag}"
    slapd_server.add(
        ada,
        employeeType=[tag],
        displayName=["Ada Quill"],
        mail=["ada@example.com"],
        telephoneNumber=["020 7946 0001"],
    )
    locked = slapd_server.add(ben, employeeType=[tag])
    slapd_server.replace(locked, {"pwdAccountLockedTime": ["000001010000Z"]})
    with installation_at(furnished(tmp_path, slapd_server, tag)) as installation:
        found = read_ldap("staff", installation.config, Fixed("of-the-administrator"))
        first, second = sorted(found, key=lambda one: one.member.key)
        assert (first.member.full_name, first.member.mail) == ("Ada Quill", "ada@example.com")
        assert first.member.accounts == (f"staff:{ada.casefold()}",)
        assert (first.has_left, second.has_left) == (False, True)
        _refuses(installation)


def test_mistyped_password_is_no_departure(tmp_path: Path, slapd_server: Slapd) -> None:
    tag = uuid.uuid4().hex
    eve = f"eve-{tag}"
    dn = slapd_server.add(eve, employeeType=[tag])
    slapd_server.replace(
        dn, {"pwdAccountLockedTime": ["20260301120000Z"], "uid": [f"a-nickname-{tag}", eve]}
    )
    with installation_at(furnished(tmp_path, slapd_server, tag)) as installation:
        (found,) = read_ldap("staff", installation.config, Fixed("of-the-administrator"))
    assert (found.member.accounts, found.has_left) == ((f"staff:{eve}",), False)


def _refuses(installation: Installation) -> None:
    with pytest.raises(Unavailable):
        read_ldap("staff", installation.config, Fixed("wrong"))
    with pytest.raises(UsageError, match="not an LDAP directory"):
        read_ldap("agents", installation.config, Fixed("x"))
