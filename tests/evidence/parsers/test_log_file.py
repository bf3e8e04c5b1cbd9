"""Each family of logs as records, and hostile input that does no harm."""

import gzip
import io
import json
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.evidence.parsers.log_file import read_log
from standfast.evidence.parsers.log_record import (
    FAILURE,
    LONGEST_TEXT,
    SIGN_IN,
    SUCCESS,
    Record,
    as_datetime,
)

COLLECTED = datetime(2026, 11, 26, tzinfo=UTC)
AT = datetime(2026, 11, 25, 2, 13, 44, tzinfo=UTC)


def read(content: bytes) -> list[Record | int]:
    return list(read_log(io.BytesIO(content), COLLECTED))


def only(content: bytes | str) -> Record:
    """Read a log with one record, which is at AT."""
    (found,) = read(content.encode() if isinstance(content, str) else content)
    assert isinstance(found, Record)
    assert as_datetime(found.at).replace(microsecond=0) == AT
    return found


def fields(record: Record) -> tuple[str, ...]:
    return (record.account, record.address, record.action, record.object, record.result)


def csvlog(message: str, state: str = "00000", tag: str = "SELECT") -> str:
    row = ["2026-11-25 02:13:44.512 UTC", "agent01", "crm", "77", "10.0.0.7:50123", "s", "1", tag]
    row += [
        "2026-11-25 02:00:00 UTC",
        "3/1",
        "0",
        "LOG",
        state,
        message,
        "",
        "",
        "",
        "",
        "",
        "",
        "",
    ]
    return ",".join([*row, "", "psql", "client backend", "", "0"]) + "\n"


def event_xml(kind: int, **data: str) -> str:
    items = "".join(f'<Data Name="{name}">{value}</Data>' for name, value in data.items())
    return (
        '<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System>'
        f'<EventID>{kind}</EventID><TimeCreated SystemTime="2026-11-25T02:13:44.5120000Z"/>'
        f"</System><EventData>{items}</EventData></Event>\n"
    )


def journal_entry(message: bytes) -> bytes:
    return (
        b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795572824000000\nSYSLOG_IDENTIFIER=sshd\n"
        b"MESSAGE\n" + struct.pack("<Q", len(message)) + message + b"\n\n"
    )


CLOUDTRAIL = {
    "eventVersion": "1.08",
    "eventTime": "2026-11-25T02:13:44Z",
    "eventName": "GetObject",
    "eventSource": "s3.amazonaws.com",
    "sourceIPAddress": "203.0.113.9",
    "userIdentity": {"type": "IAMUser", "userName": "agent01"},
    "requestParameters": {"bucketName": "calls", "key": "1.wav"},
    "errorCode": "AccessDenied",
}
OKTA = {
    "published": "2026-11-25T02:13:44.000Z",
    "eventType": "user.session.start",
    "actor": {"alternateId": "agent01"},
    "client": {
        "ipAddress": "203.0.113.9",
        "geographicalContext": {"country": "Brazil", "geolocation": {"lat": -23.5, "lon": -46.6}},
    },
    "outcome": {"result": "FAILURE"},
    "target": [{"alternateId": "portal"}],
}
ENTRA = {
    "createdDateTime": "2026-11-25T02:13:44Z",
    "userPrincipalName": "agent01",
    "ipAddress": "203.0.113.9",
    "appDisplayName": "portal",
    "status": {"errorCode": 0},
    "location": {"countryOrRegion": "DE"},
}
AUDIT = {
    "activityDateTime": "2026-11-25T02:13:44Z",
    "activityDisplayName": "Reset password",
    "initiatedBy": {"user": {"userPrincipalName": "agent01", "ipAddress": "203.0.113.9"}},
    "targetResources": [{"userPrincipalName": "agent02"}],
    "result": "success",
}
GOOGLE = {
    "id": {"time": "2026-11-25T02:13:44.000Z", "applicationName": "login"},
    "actor": {"email": "agent01"},
    "ipAddress": "203.0.113.9",
    "events": [{"type": "login", "name": "login_failure"}],
}
CONTACT = {
    "Id": "contact-1",
    "Channel": "VOICE",
    "InitiationMethod": "INBOUND",
    "InitiationTimestamp": 1795572824,
    "AgentInfo": {"Id": "agent01"},
}
EXPORTED_CONTACT = {
    "ContactId": "contact-1",
    "InitiationMethod": "OUTBOUND",
    "InitiationTimestamp": "2026-11-25T02:13:44Z",
    "Agent": {"Username": "agent01"},
    "DisconnectReason": "AGENT_DISCONNECT",
}


def cloudwatch(*messages: str) -> str:
    events = [
        {"timestamp": 1795572824000, "message": message, "ingestionTime": 1795572900000}
        for message in messages
    ]
    return json.dumps({"events": events})


SSH = "sshd[7]: Accepted password for agent01 from 203.0.113.9 port 22 ssh2"
SIGNED_IN = ("agent01", "203.0.113.9", SIGN_IN, "sshd", SUCCESS)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"Nov 25 02:13:44 host {SSH}\n", SIGNED_IN),
        (f"<34>1 2026-11-25T03:13:44+01:00 host sshd 7 - - {SSH}", SIGNED_IN),
        (journal_entry(SSH.encode() + b"\nsecond line"), SIGNED_IN),
        (
            '10.0.0.7 - agent01 [25/Nov/2026:02:13:44 +0000] "GET /customers/7 HTTP/1.1" 200 5\n',
            ("agent01", "10.0.0.7", "GET", "/customers/7", "200"),
        ),
        (
            "2026-11-25T02:13:44Z opened record 7 user=agent01 from 10.0.0.7:443\n",
            ("agent01", "10.0.0.7", "", "", ""),
        ),
        (
            '{"time":1795572824,"user":{"name":"agent01"},"ip":"10.0.0.7","action":"read","record":7}',
            ("agent01", "10.0.0.7", "read", "7", ""),
        ),
        (
            csvlog('"two\nlines, quoted"'),
            ("agent01", "10.0.0.7", "SELECT", "crm", ""),
        ),
        (
            csvlog('"password authentication failed"', "28P01", "authentication"),
            ("agent01", "10.0.0.7", SIGN_IN, "crm", FAILURE),
        ),
        (
            json.dumps(
                {
                    "timestamp": "2026-11-25 02:13:44 UTC",
                    "user": "agent01",
                    "dbname": "crm",
                    "remote_host": "10.0.0.7",
                    "error_severity": "LOG",
                    "message": "connection authorized: user=agent01",
                }
            ),
            ("agent01", "10.0.0.7", SIGN_IN, "crm", SUCCESS),
        ),
        (
            "at,account,address,action,record\n2026-11-25T02:13:44Z,agent01,10.0.0.7,read,7\n",
            ("agent01", "10.0.0.7", "read", "7", ""),
        ),
        (
            json.dumps({"Records": [CLOUDTRAIL]}),
            ("agent01", "203.0.113.9", "GetObject", "calls/1.wav", "AccessDenied"),
        ),
        (json.dumps([OKTA], indent=1), ("agent01", "203.0.113.9", SIGN_IN, "portal", FAILURE)),
        (json.dumps({"value": [ENTRA]}), ("agent01", "203.0.113.9", SIGN_IN, "portal", SUCCESS)),
        (json.dumps({"value": [AUDIT]}),
            ("agent01", "203.0.113.9", "Reset password", "agent02", SUCCESS)),
        (json.dumps({"items": [GOOGLE]}), ("agent01", "203.0.113.9", "login_failure", "", "")),
        (json.dumps({"Contacts": [CONTACT]}), ("agent01", "", "INBOUND", "contact-1", "")),
        (json.dumps(EXPORTED_CONTACT),
            ("agent01", "", "OUTBOUND", "contact-1", "AGENT_DISCONNECT")),
        (cloudwatch(f"Nov 25 02:13:40 host {SSH}"), SIGNED_IN),
        (cloudwatch('{"user": "agent01", "ip": "10.0.0.7", "action": "read", "record": 7}'),
            ("agent01", "10.0.0.7", "read", "7", "")),
        (
            f"<Events>{event_xml(4624, TargetUserName='agent01', IpAddress='10.0.0.7')}</Events>",
            ("agent01", "10.0.0.7", SIGN_IN, "", SUCCESS),
        ),
        (
            event_xml(4663, SubjectUserName="agent01", ObjectName="C:\\calls").encode("utf-16"),
            ("agent01", "", "4663", "C:\\calls", ""),
        ),
    ],
    ids=[
        "RFC 3164", "RFC 5424", "journal", "access log", "dated line", "JSON", "csvlog",
        "csvlog refused", "jsonlog", "table", "CloudTrail", "Okta", "Entra", "Entra audit",
        "Google Workspace", "Connect", "exported contact",
        "CloudWatch", "JSON in CloudWatch", "Windows", "UTF-16",
    ],
)  # fmt: skip
def test_event_of_each_family_is_a_record(content: bytes | str, expected: tuple[str, ...]) -> None:
    record = only(content)
    assert fields(record) == expected
    packed = gzip.compress(content if isinstance(content, bytes) else content.encode(), mtime=0)
    assert only(packed) == record


def test_place_has_country_and_coordinates() -> None:
    assert only(json.dumps(OKTA)).place == "Brazil -23.5 -46.6"
    assert only(json.dumps(ENTRA)).place == "DE"


@pytest.mark.parametrize(
    ("time", "is_assumed"), [("02:13:44Z", False), ("02:13:44", True), ("03:13:44,5+01:00", False)]
)
def test_missing_zone_is_marked(time: str, is_assumed: bool) -> None:
    assert only(f"2026-11-25T{time} started\n").is_zone_assumed is is_assumed


def test_message_of_cloudwatch_keeps_its_own_time() -> None:
    messages = ["2026-11-25T02:13:40Z user=agent01", "no time", "[1]", '{"time": "never"}']
    found = [each for each in read(cloudwatch(*messages).encode()) if isinstance(each, Record)]
    seconds = [as_datetime(record.at).second for record in found]
    assert seconds == [40, 44, 44, 44]
    assert [record.text for record in found] == messages


def test_last_day_of_cloudwatch_is_read() -> None:
    event = {"timestamp": "9999-12-31T23:00:00Z", "message": f"Nov 25 02:13:44 host {SSH}"}
    (found,) = read(json.dumps({**event, "ingestionTime": 1}).encode())
    assert isinstance(found, Record)
    assert fields(found) == SIGNED_IN


def test_long_cloudwatch_message_is_cut_like_a_line() -> None:
    values = "[" + "x" * 100_000 + "] user=agent01"
    for begin in ("", "<1>1 2026-11-25T02:13:44Z host a b c "):
        record = only(cloudwatch(begin + values))
        assert (record.account, record.is_cut) == ("", True)


def test_december_line_belongs_to_earlier_year() -> None:
    (found,) = read(b"Dec 31 02:13:44 host cron: started\n")
    assert isinstance(found, Record)
    assert as_datetime(found.at).year == 2025


@pytest.mark.parametrize(
    ("content", "unparsed"),
    [
        (b"no time\nNov 25 02:13:44 host a: b\n  at Frame.java\n", [1, 3]),
        (b'{"a": 1}\n{"time": 5}\n{broken\n[1]\n', [1, 3, 4]),
        (b'{broken\n{"time": 5}\n', [1]),
        (gzip.compress(b"Nov 25 02:13:44 host a: b\n" * 9)[:-9], [0]),
        (event_xml(1).encode() + b"<Event><System></Event>\n<Event>", [2, 3]),
        (journal_entry(b"x") + b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\x7fshort", [7]),
    ],
    ids=["text", "JSON lines", "first line", "cut gzip", "XML", "journal"],
)
def test_lines_that_are_no_records_are_named(content: bytes, unparsed: list[int]) -> None:
    assert [found for found in read(content) if isinstance(found, int)] == unparsed


@pytest.mark.parametrize(
    "content",
    [
        b"Nov 25 02:13:44 host a: " + b"x" * 10_000_000 + b"\nNov 25 02:13:44 host a: b\n",
        b'{"time": 5, "a": "' + b"x" * 10_000_000 + b'"}\n{"time": 5}\n',
        csvlog('"' + "x" * 10_000_000 + '"').encode() * 2,
        b"[" * 100_000 + b"\n",
        b'<!DOCTYPE e [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>\n'
        + event_xml(1, a="&b;").encode(),
        event_xml(1, a="x" * 10_000_000).encode(),
        gzip.compress(b"\0" * 50_000_000, mtime=0),
        b"Nov 25 02:13:44 host a: \x1b]0;owned\x07\xff\xfe\n",
    ],
    ids=["text", "JSON", "csvlog", "nesting", "XML bomb", "XML", "gzip bomb", "escapes"],
)
def test_hostile_log_is_read_within_limits(content: bytes) -> None:
    for found in read(content):
        assert isinstance(found, int) or len(found.text) <= 4 * 64 * 1024


LONG = "x" * 100_000


def test_long_row_does_not_hide_the_next() -> None:
    messages = ['"1"', f'"{LONG}"', '"3"', f'"two ""lines""\n{LONG}\n"",","\n"', '"5"']
    found = read("".join(map(csvlog, messages)).encode())
    assert [record.is_cut for record in found if isinstance(record, Record)] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert [record.line for record in found if isinstance(record, Record)] == [1, 2, 3, 4, 8]
    assert len(found) == 5


def test_row_without_closing_quote_names_its_lines() -> None:
    row = csvlog("m")
    cut = row.replace(",0\n", ',"0\n')
    assert [each for each in read((row + cut + row * 2).encode()) if isinstance(each, int)] == [
        2,
        3,
        4,
    ]
    found = read((row + cut + row * 12_000).encode())
    assert len(found) == 12_002
    assert sum(isinstance(each, Record) for each in found) == 2_001


@pytest.mark.parametrize(
    "content",
    [
        f"Nov 25 02:13:44 host a: {LONG}\n".encode(),
        journal_entry(LONG.encode()),
        json.dumps({"time": 1795572824, "action": LONG}).encode(),
        f"at,record,note\n2026-11-25T02:13:44Z,7,{LONG}\n".encode(),
        event_xml(1, ObjectName=LONG).encode(),
        b'{"time": 1795572824, "a": ' + b"[" * 500 + b"]" * 500 + b"}",
    ],
    ids=["text", "journal", "JSON", "table", "XML", "nesting"],
)
def test_cut_record_is_marked(content: bytes) -> None:
    record = only(content)
    assert record.is_cut
    assert max(map(len, fields(record))) <= LONGEST_TEXT
    assert len(record.text) <= LONGEST_TEXT


def test_lines_after_a_damaged_document_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standfast.evidence.parsers.log_file.LONGEST_JSON", 1_000)
    content = b"{broken\n" + b'{"time": 5}\n' * 300
    assert len(read(content)) == 301
    assert read(b'{"time": 5}\n{"time": 5, "a": "' + b"x" * 2_000 + b'"}\n{"time": 5}\n')[1] == 2


@pytest.mark.parametrize(("latitude", "longitude"), [(91, 0), (0, 181), (1.7e308, -1.7e308)])
def test_impossible_coordinates_are_left_out(latitude: float, longitude: float) -> None:
    point = {"latitude": latitude, "longitude": longitude}
    area = {"countryOrRegion": "DE", "geoCoordinates": point}
    assert only(json.dumps({**ENTRA, "location": area})).place == "DE"


@given(st.binary(max_size=300), st.sampled_from([b"", b"{", b"<Event ", b"__CURSOR=", b"\xff\xfe"]))
def test_any_bytes_are_read_without_error(content: bytes, begin: bytes) -> None:
    read(begin + content)


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*CLOUDTRAIL, *OKTA, *ENTRA, *CONTACT, "status", "id", "time"]),
                inner,
                max_size=6,
            )
        ),
    )
)
def test_any_json_is_read_without_error(value: Any) -> None:
    for event in (
        value,
        {**OKTA, "client": value},
        {**CLOUDTRAIL, "resources": value},
        {"timestamp": 5, "ingestionTime": 5, "message": json.dumps(value)},
        {"timestamp": value, "ingestionTime": 5, "message": value},
    ):
        read(json.dumps(event).encode())
