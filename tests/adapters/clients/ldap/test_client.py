"""Requests to ldap3 and its answers: escaped names, refused garbage."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.adapters.clients.ldap.client import LdapConnection, LdapServer, explained
from standfast.errors import Unavailable

pytest.importorskip("ldap3", reason="it is the LDAP client; install the extra `ldap`")

SERVER = LdapServer(host="localhost", bind_dn="cn=us", password="unused", base="dc=example")


class Raw:
    """An ldap3 connection with a fixed `result` and `response`."""

    def __init__(self, result: Mapping[str, Any], *response: Mapping[str, Any]) -> None:
        self.result, self.response = result, response
        self.asked: tuple[object, ...] = ()

    def search(self, *asked: object, **_: object) -> None:
        self.asked = asked

    modify = search


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_names_cannot_change_a_filter(values: list[bytes]) -> None:
    from ldap3.operation.search import compile_filter, parse_filter

    raw = Raw({"type": "searchResDone", "result": 0})
    LdapConnection(raw).find("dc=example", ["uid"], "uid", values, among="(objectClass=person)")
    _, text, *_ = raw.asked
    parsed = parse_filter(text, None, True, True, None, False).elements[0]
    _, names = compile_filter(parsed)["and"]
    assert [bytes(one["equalityMatch"]["assertionValue"]) for one in names["or"]] == values


def test_undecodable_dn_is_sent_back_unchanged() -> None:
    found = {"type": "searchResEntry", "raw_dn": b"cn=\xff", "raw_attributes": {"Uid": [b"a"]}}
    (entry,) = LdapConnection(Raw({"type": "searchResDone", "result": 0}, found)).search(
        "dc=example", "(uid=a)", ["uid"]
    )
    assert entry.values("uid") == (b"a",)
    raw = Raw({"type": "modifyResponse", "result": 0})
    LdapConnection(raw).replace(entry.dn, {"uid": [b"b"]})
    assert raw.asked[0] == b"cn=\xff"


@pytest.mark.parametrize("result", [{}, {"type": "searchResDone", "result": 0}])
def test_another_answer_is_not_success(result: Mapping[str, Any]) -> None:
    with pytest.raises(Exception, match="not") as caught:
        LdapConnection(Raw(result)).replace("cn=a", {"uid": [b"b"]})
    assert isinstance(explained(caught.value, SERVER), Unavailable)
