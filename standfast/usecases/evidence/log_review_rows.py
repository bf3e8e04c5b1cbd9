"""Rows of a log review: columns, shortened values, CSV without formulas.

A review shows the records of logs that were copied and signed as evidence of an incident.

Rules
- A value is masked before it is shortened.
- A CSV file is a new file that only its owner may read. No cell is a formula or contains control
  characters.
"""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

from standfast.errors import StandfastError, UsageError
from standfast.evidence.parsers.log_record import as_datetime
from standfast.evidence.review.detections import Finding
from standfast.evidence.review.log_timeline import LONGEST_TEXT, LONGEST_WORD, Event, Log
from standfast.evidence.review.record_masking import MaskRecord, in_clear
from standfast.records import Json, JsonObject, timestamp
from standfast.spreadsheet_csv import formula_safe

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "�")
_FIELDS = ("account", "address", "action", "object", "result", "device", "place", "text")
COLUMNS = ("at", "zone_assumed", "source", "path", "line", *_FIELDS, "records", "indicators", "cut")


class Display:
    """Conversion of events to masked rows."""

    def __init__(self, logs: Sequence[Log], mask: MaskRecord) -> None:
        self._logs, self._mask = logs, mask
        self._value = lru_cache(maxsize=65_536)(mask)

    def row(self, event: Event) -> dict[str, Json]:
        """Return the row of an event, by column."""
        log, account, text = self._logs[event.log], event.account, self._text(event)
        return {
            "at": timestamp(as_datetime(event.at)),
            "zone_assumed": event.is_zone_assumed,
            "source": log.source,
            "path": self._value(log.path, ""),
            "line": event.line,
            **{name: self._value(getattr(event, name), account) for name in _FIELDS[:-1]},
            "text": text[:LONGEST_TEXT],
            "records": ", ".join(self._record(each, event, text) for each in event.records),
            "indicators": ", ".join(self._value(each, account) for each in event.indicators),
            "cut": event.is_cut,
        }

    def may_show(self, event: Event, contains: str) -> bool:
        """Return whether the masked row of an event contains a casefolded text.

        Without this check, a search would reveal whether a masked value contains the text. If the
        event has only the beginning of a long log text, the text may follow later: return whether
        masking leaves `contains` unchanged.
        """
        if not contains:
            return True
        if len(event.text) < LONGEST_TEXT - LONGEST_WORD:
            return contains in self._text(event).casefold()
        return self._value(contains, "") == contains

    def _text(self, event: Event) -> str:
        return self._mask(event.text, event.account)

    def _record(self, record: str, event: Event, text: str) -> str:
        """Return a customer record, masked if the masked text does not show it.

        The key of the record may be a part of a masked value, such as a name in a mail address.
        Masking does not recognize this part alone. If the event has only the beginning of a long
        log text, a key that is not in this beginning is masked too.
        """
        kind, _, key = record.partition(" ")
        shown = self._value(record, event.account)
        is_hidden = self._mask is not in_clear and shown == record and key not in text
        return f"{kind} ***" if is_hidden else shown

    def finding(self, found: Finding) -> JsonObject:
        """Return a masked finding of a detection, a rule for suspicious patterns."""
        return {
            "rule": found.rule,
            "threshold": found.threshold,
            "account": self._value(found.account, found.account),
            "address": self._value(found.address, found.account),
            "first": timestamp(as_datetime(found.first)),
            "last": timestamp(as_datetime(found.last)),
            "count": found.count,
            "lines": [
                {
                    "source": self._logs[log].source,
                    "path": self._value(self._logs[log].path, ""),
                    "line": line,
                }
                for log, line in found.lines
            ],
        }


@contextmanager
def csv_writer(path: Path | None) -> Iterator[Callable[[JsonObject], None] | None]:
    """Yield a function that writes rows to a new CSV file, or None."""
    if path is None:
        yield None
        return
    if os.path.lexists(path):
        raise UsageError(f"{path}: it exists already. Name a new file with --csv.")
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, _NEW, 0o600), "w", encoding="utf-8", newline="") as stream:
            yield _row_writer(stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(path)
    except OSError as error:
        raise StandfastError(
            f"{path}: cannot be written: {error.strerror or type(error).__name__}. Name a new file "
            "in a folder with free space where this user may write."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _row_writer(stream: IO[str]) -> Callable[[JsonObject], None]:
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)

    def write(row: JsonObject) -> None:
        cells = (str(row[column]).translate(_CONTROLS) for column in COLUMNS)
        writer.writerow(map(formula_safe, cells))

    return write
