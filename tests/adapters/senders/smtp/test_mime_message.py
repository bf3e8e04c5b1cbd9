"""Mails that every parser reads as intended."""

import base64
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import compat32, default
from email.utils import parseaddr
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from standfast.adapters.senders import Message
from standfast.adapters.senders.mail_identity import mail_identity
from standfast.adapters.senders.smtp.mime_message import written
from standfast.config.sections.senders import SmtpSenderConfig
from standfast.notices.mail_addresses import Address, parse_address
from standfast.notices.plain_text import begins_encoded_word, one_line
from tests.adapters.senders.sender_context import context
from tests.adapters.settings import settings_of

NOW = datetime(2026, 11, 25, 2, 13, tzinfo=UTC)
HEADERS = [
    *("From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("MIME-Version", "Content-Type", "Content-Language"),
]
LONG_DOMAIN = f"mail.{'x' * 30}.{'y' * 30}.test"
INJECTED = b"a\r\nX: y"
PLAIN = "Please call us.\n.\n..twice\nFrom here on  \n=_not a boundary\n"


def mail(
    text: str,
    subject: str = "Please read",
    to: str | Address = "ana@shop.test",
    from_name: str = "Sécurité",
) -> bytes:
    to = parse_address(to) if isinstance(to, str) else to
    message = Message(
        token="t" * 32,
        address=to.text,
        subject=subject,
        text=text,
        html=f"<p>{text}</p>",
        language="en",
    )
    settings = settings_of(
        SmtpSenderConfig,
        host="relay.example.com",
        sender_address="security@example.com",
        reply_to="answers@example.com",
    )
    return written(
        message,
        to,
        mail_identity=mail_identity("relay", settings, context(name=from_name).organisation),
        now=NOW,
    )


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "",
        "no end of line",
        "é" * 500,
        "a long line " * 200,
        "يرجى الاتصال بنا\n" * 40,
        "tab\there\n\n\nend\n",
    ],
    ids=["dots", "empty", "no end", "accents", "long", "arabic", "blank lines"],
)
def test_both_bodies_come_back_as_they_were(text: str) -> None:
    read = message_from_bytes(mail(text), policy=default)
    plain, marked_up = read.iter_parts()
    wanted = "".join(f"{line}\n" for line in text.splitlines())
    assert cast("EmailMessage", plain).get_content().replace("\r\n", "\n") == wanted
    assert cast("EmailMessage", marked_up).get_content().startswith("<p>")
    assert read.defects == []


@pytest.mark.parametrize(
    "text", [PLAIN, "é" * 500, "يرجى\n" * 99], ids=["dots", "accents", "arabic"]
)
def test_it_travels_in_seven_bits_and_short_lines(text: str) -> None:
    lines = mail(text, subject="Überweisung " * 20).split(b"\r\n")
    assert all(line.isascii() and len(line) <= 78 for line in lines)
    assert not any(b"\n" in line or b"\r" in line for line in lines)


def test_no_body_holds_the_boundary() -> None:
    read = message_from_bytes(mail(PLAIN), policy=default)
    boundary = read.get_boundary()
    assert boundary is not None
    hostile = mail(f"--{boundary}\n--{boundary}--\nContent-Type: text/html\n")
    again = message_from_bytes(hostile, policy=default)
    assert len(list(again.iter_parts())) == 2


@pytest.mark.parametrize("subject", ["Please read", "Überweisung an José", "word " * 40 + "end"])
def test_headers_come_back_as_they_were(subject: str) -> None:
    read = message_from_bytes(mail("x", subject), policy=default)
    assert read["Subject"] == subject.strip()
    assert read["From"].addresses[0].display_name == "Sécurité"
    assert read["To"] == "ana@shop.test"
    assert read["Reply-To"] == "answers@example.com"
    assert read["Message-ID"] == f"<{'t' * 32}@example.com>"
    assert read["Date"].datetime == NOW
    assert (read["Auto-Submitted"], read["Content-Language"]) == ("auto-generated", "en")


def test_an_address_beyond_ascii_stands_in_utf8() -> None:
    assert "To: josé@shop.test\r\n".encode() in mail("x", to="josé@shop.test")


def test_a_long_address_is_folded() -> None:
    to = f"{'a' * 60}@{'b' * 50}.test"
    read = message_from_bytes(mail("x", to=to), policy=default)
    assert read["To"] == to


WORDS = (
    *("σας", "προσωπικά", "ειδοποίηση", "für", "größte", "Überlingen", "漢字", "個人情報", "🚒"),
    *("data", "of", "(you),", '"a"', "?=", "_", "a=b", "http://x.test/?q=1"),
)
one_subject = st.one_of(
    st.text(min_size=1, max_size=200),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join),
    st.text("aé ", min_size=1, max_size=200),
    st.text("ab ", min_size=1, max_size=1000),
).map(one_line)


@given(one_subject.filter(lambda text: bool(text) and not begins_encoded_word(text)))
@example("σας προσωπικά σήμερα σήμερα Σημαντική προσωπικά προσωπικά προσωπικά μας ειδοποίηση")
@example("Nothing more is due: Διεθνής Όμιλος Ενέργειας")
@example("a  b" * 30)
@example("x" * 2000)
@pytest.mark.parametrize("to", ["ana@shop.test", "josé@shop.test"])
def test_subject_is_read_as_approved(to: str, subject: str) -> None:
    written_down = mail("x", subject, to)
    read = message_from_bytes(written_down, policy=default)
    assert read["Subject"] == subject
    assert read.keys() == HEADERS
    head = written_down.partition(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 78
    assert all(line.strip() for line in head.split(b"\r\n"))


@given(st.one_of(st.text(max_size=200), st.text('a"\\,<>@ é', max_size=200)).map(one_line))
@example("Διεθνής Όμιλος Ενέργειας " * 7 + "a")
@example('Acme "X" <v@b.test>')
@example("A" * 300)
def test_name_is_read_as_set(name: str) -> None:
    if begins_encoded_word(name):
        return
    read = message_from_bytes(mail("x", from_name=name), policy=compat32)
    # The default policy would keep the spaces between the encoded words of a name.
    shown, address = parseaddr(read["From"].replace("\r\n", ""))
    assert (str(make_header(decode_header(shown))), address) == (name, "security@example.com")
    assert read.keys() == HEADERS


@pytest.mark.parametrize("domain", ["e.test", LONG_DOMAIN])
@pytest.mark.parametrize(
    "local",
    [
        f"=?utf-8?b?{base64.b64encode(INJECTED).decode()}?=",
        "=?utf-8?q?a=0d=0aSubject=3APay=0d=0a=0d=0aHi?=",
        "=?utf-8?q?a=0d=0aBcc=3Ax?=.é",
    ],
    ids=["base64", "quoted", "beyond ascii"],
)
def test_address_never_writes_a_header(local: str, domain: str) -> None:
    to = Address(local=local, domain=domain)
    written_down = mail("x", to=to)
    head = written_down.partition(b"\r\n\r\n")[0].decode()
    assert head.split("To:", 1)[1].split("\r\nReply-To:")[0].strip() == to.text
    assert message_from_bytes(written_down, policy=compat32).keys() == HEADERS


@pytest.mark.parametrize(
    "to",
    [
        f"{'a' * 64}@{'.'.join(['b' * 40] * 4)}.test",
        f"{'é' * 20}@{'c.' * 90}test",
        f"x+y=z@{'c.' * 110}test",
    ],
    ids=["long", "beyond ascii", "many labels"],
)
def test_the_longest_addresses_stand_whole_on_a_line(to: str) -> None:
    lines = mail("x", to=to).split(b"\r\n")
    at = lines.index(b"To:")
    assert lines[at + 1] == f" {to}".encode()
    assert lines[at + 2].startswith(b"Reply-To: ")
    assert all(len(line) <= 998 for line in lines)
