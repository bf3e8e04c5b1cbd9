"""`people import --ldap`: locked in OpenLDAP, active elsewhere."""

import uuid
from pathlib import Path

import pytest

from tests.cli.desk import Desk, furnish
from tests.servers.scim import ScimServer
from tests.servers.slapd import PEOPLE, STAFF, SUFFIX, Slapd

pytestmark = pytest.mark.xdist_group("slapd")


def test_leaver_locked_in_one_directory_shows_the_others(
    desk: Desk, installation: Path, slapd_server: Slapd, scim_server: ScimServer
) -> None:
    tag = uuid.uuid4().hex[:12]
    ada, ben = f"ada-{tag}", f"ben-{tag}"
    slapd_server.add(ada, employeeType=[tag], displayName=["Ada Quill"])
    dn = slapd_server.add(ben, employeeType=[tag], displayName=["Ben Stone"])
    slapd_server.replace(dn, {"pwdAccountLockedTime": ["000001010000Z"]})
    scim_server.create(ada)
    account = scim_server.create(ben)
    furnish(
        installation,
        scim_url=scim_server.url,
        more=STAFF.format(
            port=slapd_server.tls_port,
            ca_file=slapd_server.ca_file,
            suffix=SUFFIX,
            base=PEOPLE,
            tag=tag,
        ),
    )
    desk.monkeypatch.setenv("SCIM_TOKEN", scim_server.token)
    desk.monkeypatch.setenv("LDAP_PASSWORD", "of-the-administrator")

    taken = desk.json("people", "import", "--ldap", "staff")
    assert (taken["list"], taken["added"]["count"]) == ("ldap.staff", 2)
    assert taken["leaving"]["names"] == ["B*** S***"]
    assert taken["planned"] == {}, "the account that LDAP lists is shut there"
    assert desk.json("people", "import", "--ldap", "staff")["unchanged"] == 2

    shown = desk.run("people", "leavers", "--names")
    assert shown.status == 3
    assert f"Ben Stone  can sign in  agents:{ben}  not in the list of staff" in shown.out
    assert "Ada" not in shown.out
    scim_server.set_active(account, False)
    assert desk.run("people", "leavers").status == 0
