"""Delivery reports (RFC 3464) in mail files: token, recipient, state.

Reports are interpreted by RFC 3464, and by RFC 6533 if an address is not ASCII. Somebody with
access to the mailbox fetches the reports as files.

Rules
- A report belongs to the message with the token that is the report's envelope id (RFC 3461). The
  sender sets this id. If it is missing, the Message-ID in the returned headers has the token.
- A report is a mail, and anybody can write one. Only the recipient of a message knows its token, so
  a forger can misstate only the delivery to the forger's own address. A person supplies the files.
- If a report names several recipients, the worst result is used: the mail had one recipient, and
  that mailbox forwarded it.
- A file that is not a report, or is too large, is counted, and the other files are still read.
"""

import mailbox
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, message_from_string
from email.message import Message as Mail
from email.utils import parsedate_to_datetime
from pathlib import Path

from standfast.errors import UsageError
from standfast.records import DeliveryEvent, DeliveryState

LARGEST_BYTES = 1024 * 1024  # a report has the headers of a mail, not its body

_MEANS = {  # from the worst result to the best
    "failed": DeliveryState.BOUNCED,
    "delayed": DeliveryState.DEFERRED,
    "delivered": DeliveryState.DELIVERED,
    "relayed": DeliveryState.TAKEN,
    "expanded": DeliveryState.TAKEN,
}
_RETURNED = ("message/rfc822", "message/global", "message/global-headers")
_TOKEN = re.compile(r"[0-9a-f]{32}")
_EMPTY_LINES = re.compile(r"(?:\r?\n){2,}")
_OUR_MESSAGE_ID = re.compile(r"<([0-9a-f]{32})@[^<>@\s]+>")


@dataclass(frozen=True, kw_only=True)
class Reports:
    """The events in the files, and the number of mails without a valid report."""

    events: tuple[DeliveryEvent, ...]
    unread: int


def read_reports(paths: Iterable[Path], now: datetime) -> Reports:
    """Read files of one mail each, mbox files and Maildir folders.

    A report with a date after `now` gets `now`. UsageError if a path does not exist.
    """
    events: list[DeliveryEvent] = []
    unread = 0
    for path in paths:
        try:
            for raw in _mails(path):
                event = read_report(raw, now)
                if event is None:
                    unread += 1
                else:
                    events.append(event)
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be read, {error.strerror}. Name another file."
            ) from None
    return Reports(events=tuple(events), unread=unread)


def read_report(raw: bytes, now: datetime) -> DeliveryEvent | None:
    """Return the event in one report; None if it is about another mail."""
    if len(raw) > LARGEST_BYTES:
        return None
    try:
        mail = message_from_bytes(raw)
        if mail.get_content_type() != "multipart/report":
            return None
        blocks = _status_blocks(mail)
        token = _token(mail, blocks)
        actions = {_first_word(block.get("Action", "")) for block in blocks}
        states = [state for action, state in _MEANS.items() if action in actions]
        if not token or not states:
            return None
        return DeliveryEvent(token=token, state=states[0], at=min(_moment(mail, now), now))
    except (ValueError, LookupError, RecursionError, AttributeError, TypeError):
        return None  # malformed parts make the parser raise many kinds of error


def _mails(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        if not (path / "cur").is_dir():
            raise UsageError(f"{path}: not a Maildir. Name files, an mbox or a Maildir.")
        for file in sorted([*path.glob("cur/*"), *path.glob("new/*")]):
            yield _bounded(file)
        return
    with path.open("rb") as stream:
        is_mbox = stream.read(5) == b"From "
    if not is_mbox:
        yield _bounded(path)
        return
    box = mailbox.mbox(path, create=False)
    try:
        for key in box.iterkeys():
            with box.get_file(key) as mail:
                yield mail.read(LARGEST_BYTES + 1)
    finally:
        box.close()


def _bounded(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(LARGEST_BYTES + 1)


def _status_blocks(mail: Mail) -> list[Mail]:
    """Return the header blocks of the status part.

    The first block is about the message, and each other block about a recipient.
    """
    for part in mail.walk():
        kind = part.get_content_type()
        if kind not in ("message/delivery-status", "message/global-delivery-status"):
            continue
        blocks = [block for block in part.get_payload() if isinstance(block, Mail)]
        if kind == "message/global-delivery-status":  # Python parses its blocks as a body
            rest = str(blocks[0].get_payload())
            blocks += [message_from_string(block) for block in _EMPTY_LINES.split(rest)]
        return blocks
    return []


def _token(mail: Mail, blocks: Iterable[Mail]) -> str:
    for block in blocks:
        envelope = str(block.get("Original-Envelope-Id", "")).strip()
        if _TOKEN.fullmatch(envelope):
            return envelope
    for part in mail.walk():
        if part.get_content_type() in _RETURNED:
            inner = part.get_payload(0)
            found = _ours(str(inner.get("Message-ID", "")) if isinstance(inner, Mail) else "")
        elif part.get_content_type() == "text/rfc822-headers":
            found = _ours(str(message_from_bytes(_bytes(part)).get("Message-ID", "")))
        else:
            continue
        if found:
            return found
    return ""


def _bytes(part: Mail) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _ours(message_id: str) -> str:
    found = _OUR_MESSAGE_ID.fullmatch(message_id.strip())
    return found[1] if found else ""


def _first_word(text: str) -> str:
    return next(iter(str(text).split()), "").lower()


def _moment(mail: Mail, now: datetime) -> datetime:
    try:
        moment = parsedate_to_datetime(str(mail.get("Date", "")))
        return moment.astimezone(UTC) if moment.tzinfo else now
    except (ValueError, OverflowError):  # an impossible year or UTC offset
        return now
