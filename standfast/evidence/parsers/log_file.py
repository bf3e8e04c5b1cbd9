"""Records of one log file: detection of its format, unpacking, limits.

    for found in read_log(stream, collected_at):   # a Record, or the number of any other line

Rules
- The first bytes decide the format: gzip, UTF-16, journal export, XML, csvlog, JSON or text.
- Nothing is omitted silently. If a line is not a record, its number is yielded. If the rest of a
  file cannot be read, 0 is yielded. If a part of a record was not read, the record is marked as
  cut.
- Memory is bounded. A line of text or a row is read up to LONGEST_TEXT, and its rest is skipped. A
  JSON text and an unpacked file have limits too; the part beyond a limit is one line that is not a
  record.
- A search excludes lines of text and of JSON before they are parsed. Files in other formats are
  always parsed completely, because their records are not lines.
"""

import codecs
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain, islice
from typing import Any, BinaryIO, cast

from standfast.evidence.parsers import journald, postgresql, windows_events
from standfast.evidence.parsers.json_objects import TIMES, parse_object, read_objects
from standfast.evidence.parsers.line_reader import (
    SearchLines,
    read_found_lines,
    read_lines,
    read_rows,
)
from standfast.evidence.parsers.log_record import LONGEST_TEXT, Record, within_limits
from standfast.evidence.parsers.text_lines import parse_text
from standfast.evidence.unpacked_pieces import NotUnpacked, Readable, unpacked_pieces

LONGEST_JSON = 64 * 1024 * 1024  # bytes of one JSON text
_HEAD = 64 * 1024
_BUFFER = 256 * 1024
_BEFORE_MESSAGE = 13  # columns of csvlog before the message, the first column with line breaks
_JOURNAL = (b"__CURSOR=", b"__REALTIME_TIMESTAMP=")
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_log(
    stream: Readable, collected_at: datetime, search: SearchLines | None = None
) -> Iterator[Record | int]:
    """Yield the records of a file, and the numbers of all other lines.

    With `search`, omit lines of text and JSON that the search does not return.
    """
    unpacked = _Unpacked(stream)
    for found in _records(io.BufferedReader(unpacked, _BUFFER), collected_at, search):
        yield found if isinstance(found, int) else within_limits(found)
    if unpacked.is_incomplete:
        yield 0


def _records(
    opened: io.BufferedReader, collected_at: datetime, search: SearchLines | None
) -> Iterator[Record | int]:
    head = opened.peek(_HEAD)[:_HEAD]
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(_JOURNAL):
        for number, entry, is_cut in journald.read_entries(opened):
            yield _mark_if_cut(journald.parse_entry(number, entry), is_cut) or number
    elif begin.startswith(b"<") and (b"<Event " in head or b"<Event>" in head):
        for number, raw in windows_events.read_events(opened):
            yield (windows_events.parse_event(number, raw) if raw else None) or number
    elif begin[:1] in (b"{", b"["):
        yield from _json_records(opened, search)
    elif _is_csv(begin.partition(b"\n")[0]):
        yield from _csv_records(opened, collected_at)
    else:
        lines = (
            read_found_lines(opened, LONGEST_TEXT, search)
            if search
            else read_lines(opened, LONGEST_TEXT)
        )
        for line in lines:
            text = line.content.decode("utf-8", "backslashreplace").rstrip("\r\n")
            if text:
                record = parse_text(line.number, text, collected_at)
                yield _mark_if_cut(record, line.is_cut) or line.number


def _is_csv(first: bytes) -> bool:
    """Return whether a line is a csvlog row, or a heading with a time column."""
    fields = [field.strip(b' "\r') for field in first.split(b",")]
    has_time = any(field.decode("latin-1") in TIMES for field in fields)
    is_csvlog = len(fields) > _BEFORE_MESSAGE and first[:4].isdigit()
    return is_csvlog or (len(fields) > 1 and has_time)


def _mark_if_cut(record: Record | None, is_cut: bool) -> Record | None:
    return record._replace(is_cut=True) if record and is_cut else record


def _json_records(
    stream: BinaryIO, search: SearchLines | None, before: int = 0
) -> Iterator[Record | int]:
    """Yield the records of JSON lines, or of one JSON text of many lines.

    `before` is the number of lines in the file before the stream's position.
    """
    lines = read_lines(stream, LONGEST_JSON, before)
    if search:  # the first line is always read, because it may begin a text of many lines
        found = read_found_lines(stream, LONGEST_JSON, search, before + 1)
        lines = chain(islice(lines, 1), found)
    for line in lines:
        number = line.number
        if line.is_cut:
            yield number
            continue
        if not line.content.strip():
            continue
        try:
            events = list(read_objects(line.content))
        except ValueError:
            if number == 1:  # one JSON text over many lines, or not JSON
                yield from _json_document(line.content, stream, search)
                return
            yield number
            continue
        for event in events:
            yield (parse_object(number, event) if event is not None else None) or number


def _json_document(
    first: bytes, stream: BinaryIO, search: SearchLines | None
) -> Iterator[Record | int]:
    raw = first + stream.read(LONGEST_JSON)
    try:
        events = list(read_objects(raw))
    except ValueError:
        # If only the first line is damaged, the others are still JSON lines.
        yield 1
        raw += stream.readline(LONGEST_JSON)
        lines = io.BytesIO(raw)
        lines.readline()
        yield from _json_records(lines, search, 1)
        yield from _json_records(stream, search, raw.count(b"\n"))
        return
    for number, event in enumerate(events, 1):
        yield (parse_object(number, event) if event is not None else None) or number
    if stream.read(1):
        yield 0


def _csv_records(stream: BinaryIO, collected_at: datetime) -> Iterator[Record | int]:
    """Yield the records of csvlog, or of a table with a heading line."""
    headings: list[str] | None = None
    for row in read_rows(stream):
        if row.is_unclosed or not row.cells:
            yield from row.lines
            continue
        cells = [*row.cells, *[""] * (postgresql.FEWEST_COLUMNS if row.is_cut else 0)]
        if headings is None:
            found = postgresql.parse_row(row.begin, cells)
            headings = [] if found else [name.strip().lower() for name in row.cells]
            if found is None and not row.is_cut:
                continue
        elif headings:
            event = cast("Mapping[str, Any]", dict(zip(headings, row.cells, strict=False)))
            text = ",".join(row.cells)
            found = parse_object(row.begin, event) or parse_text(row.begin, text, collected_at)
            found = found._replace(text=text) if found else None
        else:
            found = postgresql.parse_row(row.begin, cells)
        if found:
            yield _mark_if_cut(found, row.is_cut) or row.begin
        else:
            yield from row.lines


class _Unpacked(io.RawIOBase):
    """Stream that unpacks gzip data and converts UTF-16 to UTF-8."""

    def __init__(self, stream: Readable) -> None:
        self.is_incomplete = False  # True if the rest could not be unpacked
        self._pieces = unpacked_pieces(stream, _BUFFER)
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
            self.is_incomplete = True
            return b""
