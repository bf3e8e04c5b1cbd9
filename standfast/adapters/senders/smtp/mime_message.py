"""Encoding of one mail: headers and two bodies with the same content.

Rules
- Every header and body has seven bits, so that no relay has a reason to rewrite it. Only a header
  with an address in non-ASCII letters has a line in UTF-8 (RFC 6532).
- Bodies are quoted-printable, or base64 if that is shorter. Neither can contain a line that begins
  with "=_", so no body can contain the boundary.
- No recipient's data can add or end a header. Auto-Submitted prevents automatic replies (RFC 3834).
- No header is written by Python's EmailMessage. It decodes an encoded word (RFC 2047) and writes a
  CR and LF in the word unescaped. It also loses spaces where it folds a header. Addresses are
  dot-atoms and A-labels and are written unchanged; a subject or name that is not plain is encoded
  as a whole.
- A header that many mails share is folded once.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import datetime
from email.header import Header
from email.utils import format_datetime, quote
from functools import lru_cache

from standfast.adapters.senders import Message
from standfast.adapters.senders.mail_identity import MailIdentity
from standfast.notices.mail_addresses import Address
from standfast.records import utc

_LONGEST_LINE = 76  # RFC 2047 2, for a line with an encoded word; others may have 78


def written(message: Message, to: Address, *, mail_identity: MailIdentity, now: datetime) -> bytes:
    """Encode a mail with CRLF line ends; dots are not doubled."""
    boundary = f"=_{hashlib.sha256(message.token.encode()).hexdigest()[:32]}"
    answers = mail_identity.reply_to
    headers = [
        _from(mail_identity.address, mail_identity.name),
        _mailbox("To", to),
        *([] if answers is None else [_mailbox("Reply-To", answers)]),
        _subject(message.subject),
        f"Date: {format_datetime(utc(now))}\r\n",
        f"Message-ID: <{message.token}@{mail_identity.address.domain}>\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "MIME-Version: 1.0\r\n",
        f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n',
        f"Content-Language: {message.language}\r\n",
    ]
    mark = boundary.encode()
    pieces = ["".join(headers).encode()]
    for kind, text in (("text/plain", message.text), ("text/html", message.html)):
        pieces += [b"\r\n--", mark, b"\r\n", *_part(kind, text)]
    return b"".join([*pieces, b"\r\n--", mark, b"--\r\n"])


def _part(kind: str, text: str) -> tuple[bytes, bytes]:
    """Return the headers of a body, and the body."""
    plain = b"".join([line + b"\r\n" for line in text.encode().splitlines()])
    body, encoding = binascii.b2a_qp(plain, istext=True), "quoted-printable"
    if len(body) > len(plain) * 3 // 2:
        body, encoding = base64.encodebytes(plain).replace(b"\n", b"\r\n"), "base64"
    head = f'Content-Type: {kind}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n'
    return f"{head}\r\n".encode(), body


def _mailbox(name: str, mailbox: Address) -> str:
    """Return an address, on its own line if long: at most 254 octets."""
    line = f"{name}: {mailbox.text}"
    return f"{line}\r\n" if len(line) <= _LONGEST_LINE else f"{name}:\r\n {mailbox.text}\r\n"


@lru_cache(maxsize=16)
def _from(sender: Address, name: str) -> str:
    if not name:
        return _mailbox("From", sender)
    shown = f'"{quote(name)}"' if name.isascii() else ""
    if not shown or len(f"From: {shown}") > _LONGEST_LINE:
        shown = _encode_words("From", name)
    line = f"From: {shown} <{sender.text}>"
    if len(line) <= _LONGEST_LINE:
        return f"{line}\r\n"
    return f"From: {shown}\r\n <{sender.text}>\r\n"


@lru_cache(maxsize=256)
def _subject(subject: str) -> str:
    words = subject.split(" ")
    # Fold at spaces only if there are some, and folding would preserve them.
    if subject.isascii() and all(0 < len(word) < _LONGEST_LINE // 2 for word in words):
        return _fold_at_spaces("Subject", words)
    return f"Subject: {_encode_words('Subject', subject)}\r\n"


def _fold_at_spaces(name: str, words: Sequence[str]) -> str:
    lines = [f"{name}:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _LONGEST_LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join([*lines, ""])


def _encode_words(name: str, text: str) -> str:
    header = Header(text, "utf-8", header_name=name, maxlinelen=_LONGEST_LINE)
    return header.encode(linesep="\r\n")
