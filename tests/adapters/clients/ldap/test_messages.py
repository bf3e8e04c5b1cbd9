"""LDAP's messages in bytes: as ldap3 writes and reads them, and whatever a server may send."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standfast.adapters.clients.ldap.messages import (
    MODIFY_DONE,
    MOST_BYTES,
    SEARCH_DONE,
    SEARCH_ENTRY,
    Garbled,
    both,
    code_of,
    cookie_of,
    entry_of,
    length_of,
    message,
    modify_request,
    one_of,
    opened,
    page,
    search_request,
    written_filter,
)

pytest.importorskip("ldap3", reason="it is the LDAP client; install the extra `ldap`")

VALUES = st.binary(max_size=300)
TEXTS = st.text(max_size=60)
ATTRIBUTES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,40}", fullmatch=True)
NUMBERS = st.integers(0, 2**31 - 1)
ENTRY = {"uid": [b"alice", b"a" * 200], "entryUUID": [b"1"], "pwdAccountLockedTime": []}


def theirs(number: int, name: str, operation: Any, control: Any = None) -> bytes:
    """Give the whole message as ldap3 writes it."""
    from ldap3.protocol.rfc4511 import Controls, LDAPMessage, MessageID, ProtocolOp
    from ldap3.utils.asn1 import encode

    whole = LDAPMessage()
    whole["messageID"] = MessageID(number)
    whole["protocolOp"] = ProtocolOp().setComponentByName(name, operation)
    if control is not None:
        whole["controls"] = Controls().setComponentByPosition(0, control)
    return bytes(encode(whole))


def their_search(base: str, filter_text: str, wanted: Sequence[str], scope: str = "SUBTREE") -> Any:
    from ldap3.operation.search import search_operation

    return search_operation(base, filter_text, scope, "ALWAYS", wanted, 0, 0, False, True, True)


def their_entry(dn: str, attributes: Mapping[str, Sequence[bytes]]) -> Any:
    from ldap3.protocol.rfc4511 import (
        LDAPDN,
        AttributeDescription,
        PartialAttribute,
        PartialAttributeList,
        SearchResultEntry,
        Vals,
    )

    listed = PartialAttributeList()
    for place, (name, values) in enumerate(attributes.items()):
        there = Vals()
        for number, value in enumerate(values):
            there.setComponentByPosition(number, value)
        if not values:
            there.clear()
        one = PartialAttribute()
        one["type"] = AttributeDescription(name)
        one["vals"] = there
        listed.setComponentByPosition(place, one)
    if not attributes:
        listed.clear()
    entry = SearchResultEntry()
    entry["object"] = LDAPDN(dn)
    entry["attributes"] = listed
    return entry


def their_end(kind: str, code: int, text: str = "") -> Any:
    from ldap3.protocol import rfc4511

    end = {"modifyResponse": rfc4511.ModifyResponse, "searchResDone": rfc4511.SearchResultDone}
    done = end[kind]()
    done["resultCode"] = rfc4511.ResultCode(code)
    done["matchedDN"] = rfc4511.LDAPDN("")
    done["diagnosticMessage"] = rfc4511.LDAPString(text)
    return done


def escaped(value: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in value)


@given(
    NUMBERS,
    TEXTS,
    ATTRIBUTES,
    st.lists(VALUES.filter(bool), min_size=1, max_size=60),
    st.lists(ATTRIBUTES, min_size=1, max_size=5),
)
def test_a_search_for_many_values_is_what_ldap3_writes(
    number: int, base: str, attribute: str, values: list[bytes], wanted: list[str]
) -> None:
    each = [f"({attribute}={escaped(value)})" for value in values]
    text = each[0] if len(each) == 1 else f"(|{''.join(each)})"
    asked = their_search(base, f"(&(objectClass=*){text})", wanted)
    filter_ = both(written_filter("(objectClass=*)"), one_of(attribute, values))
    ours = message(number, search_request(base, filter_, wanted, is_one_entry=False))
    assert ours == theirs(number, "searchRequest", asked)


def test_one_entry_is_asked_for_as_ldap3_does() -> None:
    asked = their_search("cn=Monitor", "(objectClass=*)", ["cn"], "BASE")
    ours = search_request(
        "cn=Monitor", written_filter("(objectClass=*)"), ["cn"], is_one_entry=True
    )
    assert message(7, ours) == theirs(7, "searchRequest", asked)


@given(
    NUMBERS,
    TEXTS,
    st.dictionaries(ATTRIBUTES, st.lists(VALUES, max_size=3), min_size=1, max_size=3),
    st.booleans(),
)
def test_a_change_is_what_ldap3_writes(
    number: int, dn: str, changes: dict[str, list[bytes]], is_anew: bool
) -> None:
    from ldap3.operation.modify import modify_operation

    words = {
        name: [("MODIFY_DELETE", []), ("MODIFY_ADD", values)]
        if is_anew
        else [("MODIFY_REPLACE", values)]
        for name, values in changes.items()
    }
    ours = message(number, modify_request(dn, changes, anew=changes if is_anew else ()))
    assert ours == theirs(number, "modifyRequest", modify_operation(dn, words, False))


@given(st.integers(1, 100_000), VALUES)
def test_a_page_is_asked_for_with_the_cookie_that_is_read(size: int, cookie: bytes) -> None:
    from ldap3.protocol.rfc2696 import paged_search_control

    done = their_end("searchResDone", 0)
    control = paged_search_control(False, size, cookie)
    *_, controls = opened(theirs(1, "searchResDone", done, control))
    assert cookie_of(controls) == cookie
    *_, asked = opened(
        message(1, search_request("", b"", [], is_one_entry=False), page(size, cookie))
    )
    assert cookie_of(asked) == cookie


@given(NUMBERS, TEXTS, st.dictionaries(ATTRIBUTES, st.lists(VALUES, max_size=3), max_size=4))
def test_an_entry_is_read_as_it_was_written(
    number: int, dn: str, attributes: dict[str, list[bytes]]
) -> None:
    whole = theirs(number, "searchResEntry", their_entry(dn, attributes))
    assert length_of(whole) == len(whole)
    of_whom, kind, body, controls = opened(whole)
    assert (of_whom, kind, controls) == (number, SEARCH_ENTRY, b"")
    lower = {name.lower(): tuple(values) for name, values in attributes.items()}
    assert entry_of(body) == (dn, lower)


@given(st.sampled_from([0, 1, 32, 49, 50, 80]), TEXTS)
def test_a_result_code_is_read_whatever_the_server_says_besides(code: int, text: str) -> None:
    for name, kind in (("modifyResponse", MODIFY_DONE), ("searchResDone", SEARCH_DONE)):
        _, found, body, _ = opened(theirs(3, name, their_end(name, code, text)))
        assert (found, code_of(body)) == (kind, code)


def test_a_dn_that_is_no_text_goes_back_as_it_came() -> None:
    dn, _ = entry_of(b"\x04\x04cn=\xff\x30\x00")
    assert b"cn=\xff" in modify_request(dn, {"a": [b"b"]})


def test_what_is_cut_anywhere_is_waited_for_and_never_read() -> None:
    whole = theirs(9, "searchResEntry", their_entry("uid=alice", ENTRY))
    for end in range(len(whole)):
        assert length_of(whole[:end]) in (0, len(whole))
        with pytest.raises(Garbled):
            opened(whole[:end])
    _, _, body, _ = opened(whole)
    for end in range(len(body)):
        with pytest.raises(Garbled):
            entry_of(body[:end])


def test_an_answer_with_any_bit_changed_is_read_or_garbled_and_nothing_else() -> None:
    wholes = [
        theirs(9, "searchResEntry", their_entry("uid=alice", ENTRY)),
        theirs(9, "modifyResponse", their_end("modifyResponse", 50, "no")),
        message(9, search_request("", b"", [], is_one_entry=False), page(5, b"next")),
    ]
    for whole in wholes:
        for place in range(len(whole)):
            for bit in range(8):
                other = bytes((whole[place] ^ (1 << bit),))
                read_all(whole[:place] + other + whole[place + 1 :])


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_garbled_and_nothing_else(data: bytes) -> None:
    read_all(data)


def read_all(data: bytes) -> None:
    """Read it as everything that it may be."""
    bodies = [data]
    with suppress(Garbled):
        length_of(data)
        _, _, body, controls = opened(data)
        bodies += [body, controls]
    for body in bodies:
        for read in (entry_of, code_of, cookie_of):
            with suppress(Garbled):
                read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x0a\x00\x04\x00\x04\x00",  # a code of no bytes, which would read as 0: success
        b"\x0a\x05\x00\x00\x00\x00\x00\x04\x00\x04\x00",
        b"\x02\x01\x00\x04\x00\x04\x00",  # a number where a code belongs
        b"\x0a\x01\x00",
        b"\x0a\x80\x00\x00\x04\x00\x04\x00",  # a length without end
    ],
)
def test_what_is_no_result_is_no_success(body: bytes) -> None:
    with pytest.raises(Garbled):
        code_of(body)


def test_a_page_without_its_cookie_is_not_taken_for_the_last() -> None:
    name = b"1.2.840.113556.1.4.319"
    control = b"\x04" + bytes((len(name),)) + name
    for value in (b"", b"\x04\x00", b"\x04\x02\x30\x00"):
        whole = control + value
        with pytest.raises(Garbled):
            cookie_of(b"\x30" + bytes((len(whole),)) + whole)


def test_a_message_longer_than_any_of_ours_is_not_waited_for() -> None:
    too_long = (MOST_BYTES + 1).to_bytes(4, "big")
    with pytest.raises(Garbled):
        length_of(b"\x30\x84" + too_long)
    with pytest.raises(Garbled):
        length_of(b"\x30\x85\x00" + too_long)
    assert length_of(b"\x30\x84" + MOST_BYTES.to_bytes(4, "big")) == MOST_BYTES + 6
