"""Events of the Windows event log, as XML.

Rules
- Only the text from `<Event` to `</Event>` is parsed. It cannot define entities, because a document
  type inside an element is an error. Therefore no input can expand to a huge text.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree import ElementTree

from standfast.evidence.parsers.log_record import FAILURE, SIGN_IN, SUCCESS, Record, parse_time

_PIECE = 1024 * 1024
_MOST = 4 * _PIECE  # bytes of one event
_BEGIN, _END = re.compile(rb"<Event[\s>]"), b"</Event>"
_SIGN_INS = {"4624": SUCCESS, "4625": FAILURE}
_TARGET_IS_ACCOUNT = ("4624", "4625", "4634", "4647", "4648", "4768", "4769", "4771", "4776")


def read_events(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield each event: its first line number, and its bytes.

    For an incomplete event, yield None instead of the bytes.
    """
    kept, number = b"", 1
    while piece := stream.read(_PIECE):
        kept += piece
        position = 0
        while begin := _BEGIN.search(kept, position):
            end = kept.find(_END, begin.start())
            number += kept.count(b"\n", position, begin.start())
            position = begin.start()
            if end < 0:
                break
            end += len(_END)
            yield number, kept[position:end]
            number += kept.count(b"\n", position, end)
            position = end
        else:
            tail = max(position, len(kept) - len(_END))
            number += kept.count(b"\n", position, tail)
            position = tail
        kept = kept[position:]
        if len(kept) > _MOST:
            yield number, None
            number += kept.count(b"\n")
            kept = b""
    if _BEGIN.search(kept):
        yield number, None


def parse_event(number: int, raw: bytes) -> Record | None:
    """Parse an event; None if it is not XML or has no time."""
    try:
        event = ElementTree.fromstring(raw)  # noqa: S314 - without a document type: see above
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    system: dict[str, ElementTree.Element] = {}
    data: dict[str, str] = {}
    for part in event:
        if _name(part) == "System":
            system = {_name(item): item for item in part}
        elif _name(part) in ("EventData", "UserData"):
            data = {item.get("Name") or _name(item): item.text or "" for item in part.iter()}
    created = system.get("TimeCreated")
    time = parse_time(created.get("SystemTime")) if created is not None else None
    if time is None:
        return None
    at, is_zone_assumed = time
    kind = (system["EventID"].text or "").strip() if "EventID" in system else ""
    subject, target = data.get("SubjectUserName", ""), data.get("TargetUserName", "")
    address = data.get("IpAddress", "").removeprefix("::ffff:")
    return Record(
        at=at,
        line=number,
        is_zone_assumed=is_zone_assumed,
        account=(target or subject) if kind in _TARGET_IS_ACCOUNT else (subject or target),
        address="" if address == "-" else address,
        action=SIGN_IN if kind in _SIGN_INS else kind,
        object=data.get("ObjectName") or data.get("ShareName") or data.get("NewProcessName", ""),
        result=_SIGN_INS.get(kind) or data.get("Status", ""),
        device=data.get("WorkstationName", ""),
        text=" ".join(f"{name}={value.strip()}" for name, value in data.items() if value.strip()),
    )


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
