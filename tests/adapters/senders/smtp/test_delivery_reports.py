"""Delivery reports of a relay, read from a folder with other files."""

import mailbox
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from standfast.adapters.senders.smtp.delivery_reports import (
    LARGEST_BYTES,
    read_report,
    read_reports,
)
from standfast.errors import UsageError
from standfast.records import DeliveryEvent, DeliveryState

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TOKEN = "0123456789abcdef" * 2


def report(
    *,
    envelope: str = TOKEN,
    action: str = "failed",
    headers: str = "Subject: x\n",
    date: str = "Wed, 25 Nov 2026 10:00:00 +0100",
) -> bytes:
    """Write a report as Postfix does (RFC 3464)."""
    named = f"Original-Envelope-Id: {envelope}\n" if envelope else ""
    return f"""From: MAILER-DAEMON@relay.test
To: security@example.com
Date: {date}
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain; charset=us-ascii

This is the mail system.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.test
{named}Arrival-Date: Wed, 25 Nov 2026 09:59:00 +0100

Final-Recipient: rfc822; ana@example.net
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 no such mailbox

--b
Content-Type: text/rfc822-headers

{headers}
--b--
""".encode()


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("failed", DeliveryState.BOUNCED),
        ("Delayed (will try again)", DeliveryState.DEFERRED),
        ("delivered", DeliveryState.DELIVERED),
        ("relayed", DeliveryState.TAKEN),
        ("expanded", DeliveryState.TAKEN),
    ],
)
def test_each_action_means_one_thing(action: str, state: DeliveryState) -> None:
    at = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
    assert read_report(report(action=action), NOW) == DeliveryEvent(token=TOKEN, state=state, at=at)


@pytest.mark.parametrize(
    ("actions", "state"),
    [
        (("failed", "delivered"), DeliveryState.BOUNCED),
        (("expanded", "failed", "relayed"), DeliveryState.BOUNCED),
        (("delivered", "delayed"), DeliveryState.DEFERRED),
        (("relayed", "delivered"), DeliveryState.DELIVERED),
        (("pondered", "delivered"), DeliveryState.DELIVERED),
    ],
)
def test_worst_recipient_counts_in_any_order(
    actions: tuple[str, ...], state: DeliveryState
) -> None:
    for order in (actions, actions[::-1]):
        said = "\n\nFinal-Recipient: rfc822; b@example.net\nAction: ".join(order)
        event = read_report(report(action=said), NOW)
        assert event is not None
        assert event.state is state


def test_message_id_replaces_a_lost_envelope_id() -> None:
    raw = report(envelope="", headers=f"Message-ID: <{TOKEN}@example.com>\nSubject: x\n")
    # The headers alone, or the whole message.
    for part in (b"text/rfc822-headers", b"message/rfc822"):
        event = read_report(raw.replace(b"text/rfc822-headers", part), NOW)
        assert event is not None
        assert event.token == TOKEN


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("returned", [b"message/global-headers", b"message/global"])
@pytest.mark.parametrize("envelope", [TOKEN, ""])
def test_report_about_non_ascii_address_is_understood(
    envelope: str, returned: bytes, line_end: bytes
) -> None:
    raw = report(envelope=envelope, headers=f"Message-ID: <{TOKEN}@relay.test>\n")
    raw = raw.replace(b"message/delivery-status", b"message/global-delivery-status")
    raw = raw.replace(b"text/rfc822-headers", returned)
    raw = raw.replace(b"rfc822; ana@example.net", "utf-8; jörg@exämple.net".encode())
    event = read_report(raw.replace(b"\n", line_end), NOW)
    assert event is not None
    assert (event.token, event.state) == (TOKEN, DeliveryState.BOUNCED)


def test_embedded_foreign_message_hides_nothing() -> None:
    ours = f"Message-ID: <{TOKEN}@example.com>\n"
    foreign = "Message-ID: <a@b.test>\n\n--b\nContent-Type: text/rfc822-headers\n\n"
    event = read_report(report(envelope="other", headers=foreign + ours), NOW)
    assert event is not None
    assert event.token == TOKEN


@pytest.mark.parametrize(
    "date",
    [
        "Thu, 01 Jan 2099 00:00:00 +0000",
        "Fri, 31 Dec 9999 23:59:59 -0100",
        f"Wed, 25 Nov {'9' * 20} 10:00:00 +0000",
        f"Wed, 25 Nov 2026 10:00:00 +{'9' * 20}",
        "Wed, 25 Nov 2026 10:00:00 -0000",
        "yesterday",
        "",
    ],
)
def test_report_time_is_never_invalid_or_future(date: str) -> None:
    event = read_report(report(date=date), NOW)
    assert event is not None
    assert event.at == NOW


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Subject: hello\n\nI am away until Monday.\n",
        report(envelope="", headers="Message-ID: <somebody@else.test>\n"),
        report(envelope="' OR 1=1", headers=""),
        report(envelope=TOKEN + "0"),
        report(envelope="x" + TOKEN),
        report(envelope="", headers=f"Message-ID: <x@y.test> <{TOKEN}@example.com>\n"),
        report(envelope="", headers=f"Message-ID: <{TOKEN}0@example.com>\n"),
        report().replace(b"multipart/report", b"multipart/mixed"),
        report(action="pondered"),
        report() + b"x" * LARGEST_BYTES,
        report().replace(b"message/delivery-status", b"text/plain"),
        b"Content-Type: multipart/report; boundary=\n\n",
        b"Content-Type: multipart/report; boundary=b\n\n" + b"--b\n" * 5000,
        bytes(range(256)) * 10,
    ],
)
def test_foreign_report_is_ignored(raw: bytes) -> None:
    assert read_report(raw, NOW) is None


def test_files_an_mbox_and_a_maildir_are_read(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(report())
    (tmp_path / "hello.eml").write_bytes(b"Subject: hello\n\nHello.\n")
    (tmp_path / "large.eml").write_bytes(too_large := report() + b"x" * LARGEST_BYTES)
    box = mailbox.mbox(tmp_path / "box")
    folder = mailbox.Maildir(tmp_path / "folder")
    for place in (box, folder):
        place.add(report(envelope="f" * 32))
        place.add(b"Subject: hello\n\nHello.\n")
        place.add(too_large)
        place.close()
    seen = next((tmp_path / "folder/new").iterdir())
    seen.rename(tmp_path / "folder/cur" / f"{seen.name}:2,S")
    found = read_reports(
        [tmp_path / name for name in ("one.eml", "hello.eml", "large.eml", "box", "folder")], NOW
    )
    assert [event.token for event in found.events] == [TOKEN, "f" * 32, "f" * 32]
    assert found.unread == 6
    assert found.events[0].at < NOW - timedelta(hours=2)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_reports([tmp_path / "nothing"], NOW)
    with pytest.raises(UsageError, match="not a Maildir"):
        read_reports([tmp_path], NOW)


@pytest.mark.parametrize("part", [b"text/rfc822-headers", b"message/rfc822"])
def test_truncated_report_stops_nothing(part: bytes) -> None:
    headers = f"Message-ID: <{TOKEN}@example.com>\n"
    raw = report(envelope="", headers=headers).replace(b"text/rfc822-headers", part)
    found = [read_report(raw[:end], NOW) for end in range(len(raw) + 1)]
    assert (found[0], found[-1] is None) == (None, False)
    assert {one.token for one in found if one is not None} == {TOKEN}
