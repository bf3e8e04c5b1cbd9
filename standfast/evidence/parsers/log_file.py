"""Records of one log file: its format, its compression, its limits.

    for found in read_log(stream, collected_at):   # a Record, or the number of another line

Rules
- The first bytes decide the format: gzip, UTF-16, journal export, XML, csvlog, JSON or text.
- Nothing is dropped silently: a line that is not a record is returned as its number, and the rest
  of a file that cannot be unpacked as 0.
- Memory is bounded. A line of text is read up to LONGEST_TEXT, and its rest is skipped. A JSON text
  and an unpacked file have limits; beyond them the rest is one line that is not a record.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO, cast

from standfast.evidence.parsers import journald, postgresql, windows_events
from standfast.evidence.parsers.json_objects import TIMES, parse_object, read_objects
from standfast.evidence.parsers.log_record import LONGEST_TEXT, Record
from standfast.evidence.parsers.text_lines import parse_text
from standfast.evidence.unpacked_pieces import NotUnpacked, Readable, unpacked_pieces

LONGEST_JSON = 64 * 1024 * 1024  # bytes of one JSON text
_HEAD = 64 * 1024
_BEFORE_MESSAGE = 13  # columns of csvlog before the first that may have line breaks
_JOURNAL = (b"__CURSOR=", b"__REALTIME_TIMESTAMP=")
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_log(stream: Readable, collected_at: datetime) -> Iterator[Record | int]:
    """Yield the records of a file, and the numbers of all other lines."""
    unpacked = _Unpacked(stream)
    yield from _records(io.BufferedReader(unpacked, 256 * 1024), collected_at)
    if unpacked.is_cut:
        yield 0


def _records(opened: io.BufferedReader, collected_at: datetime) -> Iterator[Record | int]:
    head = opened.peek(_HEAD)[:_HEAD]
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(_JOURNAL):
        for number, entry in journald.read_entries(opened):
            yield (journald.parse_entry(number, entry) if entry else None) or number
    elif begin.startswith(b"<") and (b"<Event " in head or b"<Event>" in head):
        for number, raw in windows_events.read_events(opened):
            yield (windows_events.parse_event(number, raw) if raw else None) or number
    elif begin[:1] in (b"{", b"["):
        yield from _json_records(opened)
    elif _is_csv(begin.partition(b"\n")[0]):
        yield from _csv_records(opened, collected_at)
    else:
        for number, line in _lines(opened, LONGEST_TEXT):
            yield from _text_record(number, line, collected_at)


def _is_csv(first: bytes) -> bool:
    """Return whether a line is of csvlog, or a heading with a time."""
    fields = [field.strip(b' "\r') for field in first.split(b",")]
    has_time = any(field.decode("latin-1") in TIMES for field in fields)
    is_csvlog = len(fields) > _BEFORE_MESSAGE and first[:4].isdigit()
    return is_csvlog or (len(fields) > 1 and has_time)


def _text_record(number: int, line: bytes, collected_at: datetime) -> Iterator[Record | int]:
    text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
    if text:
        yield parse_text(number, text, collected_at) or number


def _json_records(stream: BinaryIO) -> Iterator[Record | int]:
    """Yield the records of JSON lines, or of one JSON text of many lines."""
    for number, line in _lines(stream, LONGEST_JSON):
        if not line.strip():
            continue
        try:
            events = list(read_objects(line))
        except ValueError:
            if number == 1:  # a text of many lines, or not JSON
                yield from _json_document(line, stream)
                return
            yield number
            continue
        for event in events:
            yield (parse_object(number, event) if event is not None else None) or number


def _json_document(first: bytes, stream: BinaryIO) -> Iterator[Record | int]:
    raw = first + stream.read(LONGEST_JSON)
    try:
        events = list(read_objects(raw))
    except ValueError:
        # If only the first line is damaged, the others are still JSON lines.
        yield 1
        if not stream.read(1):
            yield from _json_lines_after(raw)
        return
    for number, event in enumerate(events, 1):
        yield (parse_object(number, event) if event is not None else None) or number


def _json_lines_after(raw: bytes) -> Iterator[Record | int]:
    for number, line in enumerate(raw.split(b"\n")[1:], 2):
        try:
            events = list(read_objects(line)) if line.strip() else []
        except ValueError:
            yield number
            continue
        for event in events:
            yield (parse_object(number, event) if event is not None else None) or number


def _csv_records(stream: BinaryIO, collected_at: datetime) -> Iterator[Record | int]:
    """Yield the records of csvlog, or of a table with a heading line."""
    counted = 0

    def texts() -> Iterator[str]:
        nonlocal counted
        for number, line in _lines(stream, LONGEST_TEXT):
            counted = number
            yield line.decode("utf-8-sig", "backslashreplace").replace(
                "\0", "\N{REPLACEMENT CHARACTER}"
            )

    rows = csv.reader(texts())
    headings: list[str] | None = None
    begins = 1
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield begins
            begins = counted + 1
            continue
        if row and headings is None:
            found = postgresql.parse_row(begins, row)
            headings = [] if found else [name.strip().lower() for name in row]
            if found:
                yield found
        elif row and headings:
            event = cast("Mapping[str, Any]", dict(zip(headings, row, strict=False)))
            text = ",".join(row)
            found = parse_object(begins, event)
            if found is not None:
                yield found._replace(text=text[:LONGEST_TEXT])
            else:
                yield from _text_record(begins, text.encode(), collected_at)
        elif row:
            yield postgresql.parse_row(begins, row) or begins
        begins = counted + 1


def _lines(stream: BinaryIO, longest: int) -> Iterator[tuple[int, bytes]]:
    """Yield each line with its number; skip the rest of a longer one."""
    number, read = 0, stream.readline
    while line := read(longest):
        number += 1
        yield number, line
        if not line.endswith(b"\n"):
            while (rest := read(_HEAD)) and not rest.endswith(b"\n"):
                pass


class _Unpacked(io.RawIOBase):
    """Stream that unpacks gzip data and turns UTF-16 into UTF-8."""

    def __init__(self, stream: Readable) -> None:
        self.is_cut = False  # whether the rest could not be unpacked
        self._pieces = unpacked_pieces(stream, _HEAD)
        self._kept = self._next()
        form = _UTF16.get(self._kept[:2])
        self._decoder = codecs.getincrementaldecoder(form)("replace") if form else None
        if self._decoder:
            self._kept = self._decoder.decode(self._kept[2:]).encode()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._kept:
            if not (piece := self._next()):
                return 0
            self._kept = self._decoder.decode(piece).encode() if self._decoder else piece
        size = min(len(buffer), len(self._kept))
        buffer[:size] = self._kept[:size]
        self._kept = self._kept[size:]
        return size

    def _next(self) -> bytes:
        """Return the next bytes that are not empty; b"" after the last."""
        try:
            return next(filter(None, self._pieces), b"")
        except NotUnpacked:
            self.is_cut = True
            return b""
