"""Entries of systemd's journal, in its export format and as JSON."""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from standfast.evidence.parsers.log_record import LONGEST_TEXT, Record, parse_time, text_of
from standfast.evidence.parsers.text_lines import message_fields

_MOST_FIELDS = 1_000


def read_entries(stream: BinaryIO) -> Iterator[tuple[int, Mapping[str, str], bool]]:
    """Yield each entry: its first line, its fields, and whether it was cut.

    A field longer than LONGEST_TEXT is cut. If a field is damaged, yield the rest of the input as
    one entry without fields.
    """
    number, begins, is_cut = 1, 1, False
    fields: dict[str, str] = {}
    while line := stream.readline(LONGEST_TEXT):
        while not line.endswith(b"\n") and (rest := stream.readline(LONGEST_TEXT)):
            is_cut = is_cut or rest != b"\n"
            line = line[:LONGEST_TEXT] + rest[-1:]
        number += 1
        if line == b"\n":
            if fields:
                yield begins, fields, is_cut
            fields, begins, is_cut = {}, number, False
            continue
        name, equals, value = line.rstrip(b"\n").partition(b"=")
        if not equals:
            size = int.from_bytes(stream.read(8), "little")
            value = stream.read(min(size, LONGEST_TEXT))
            number += value.count(b"\n") + 1
            if size > LONGEST_TEXT:
                is_cut = True
                number += _skip(stream, size - LONGEST_TEXT)
            if stream.read(1) != b"\n":
                yield begins, {}, is_cut
                return
        if len(fields) < _MOST_FIELDS:
            fields[name.decode("latin-1")] = value.decode("utf-8", "backslashreplace")
        else:
            is_cut = True
    if fields:
        yield begins, fields, is_cut


def parse_entry(number: int, entry: Mapping[str, Any]) -> Record | None:
    """Parse the fields of an entry; None if it has no time."""
    time = parse_time(entry.get("__REALTIME_TIMESTAMP"))
    if time is None:
        return None
    at, _ = time
    program = text_of(entry.get("SYSLOG_IDENTIFIER")) or text_of(entry.get("_COMM"))
    message = text_of(entry.get("MESSAGE"))
    account, address, action, target, result = message_fields(program, message)
    target = target or text_of(entry.get("_SYSTEMD_UNIT"))
    text = f"{program}: {message}"
    return Record(at, number, False, account, address, action, target, result, "", "", text)


def _skip(stream: BinaryIO, size: int) -> int:
    """Skip bytes; return the number of lines in them."""
    lines = 0
    while size and (piece := stream.read(min(size, LONGEST_TEXT))):
        size -= len(piece)
        lines += piece.count(b"\n")
    return lines
