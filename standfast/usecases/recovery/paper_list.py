"""Paper list of a recovery: items to enter into the recovered service.

During an outage, people write orders or calls on paper. Each item has an owner: the person that
enters it into the service after the recovery.

    add_items(installation, incident_id, Path("paper.csv"), by="dana")
    enter_item(installation, incident_id, 3, by="kim")

Rules
- A further list adds items, with the next numbers. Items are never removed. If two people report
  that they entered an item, the first report is kept.
- Items and owners are encrypted with the incident's key, because they may name people. The other
  events in the incident's timeline contain only the number of an item.
"""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast

from standfast.errors import Refused, UsageError
from standfast.records import Json, JsonObject, timestamp
from standfast.spreadsheet_csv import CsvRows
from standfast.usecases.core.installation import Installation

LISTED, ENTERED = "paper.listed", "paper.entered"
_COLUMNS = ["owner", "item"]
_MOST_ITEMS = 1_000
_LONGEST = 500  # characters of a field
_CONTEXT = "paper list"


@dataclass(frozen=True, kw_only=True)
class PaperItem:
    """One entry of the paper list."""

    number: int  # from 1, for each incident
    owner: str
    item: str
    entered_by: str = ""
    entered_at: datetime | None = None

    def as_json(self) -> dict[str, Json]:
        return {
            "number": self.number,
            "owner": self.owner,
            "item": self.item,
            "entered_by": self.entered_by,
            "entered_at": timestamp(self.entered_at) if self.entered_at else None,
        }


def paper_items(installation: Installation, incident_id: str) -> tuple[PaperItem, ...]:
    """Return all items of an incident, in order of their numbers."""
    ledger = installation.ledger
    items: list[PaperItem] = []
    for event in ledger.timeline(incident_id):
        if event.action == LISTED:
            sealed = base64.b64decode(event.detail["sealed"])
            opened = ledger.cipher.open(incident_id, _CONTEXT, sealed)
            for owner, item in cast("Sequence[Sequence[str]]", opened["items"]):
                items.append(PaperItem(number=len(items) + 1, owner=owner, item=item))
        elif event.action == ENTERED:
            place = int(event.detail["number"]) - 1
            if items[place].entered_at is None:
                items[place] = replace(items[place], entered_by=event.actor, entered_at=event.at)
    return tuple(items)


def add_items(
    installation: Installation, incident_id: str, file: Path, *, by: str | None = None
) -> int:
    """Add the items of a CSV file with the columns owner and item.

    Return the count of added items. Raise UsageError for an invalid file, Refused for a closed
    incident.
    """
    rows = _read(file)
    _refuse_closed(installation, incident_id)
    sealed = installation.ledger.cipher.seal(incident_id, _CONTEXT, {"items": rows})
    detail: JsonObject = {"count": len(rows), "sealed": base64.b64encode(sealed).decode()}
    _record(installation, incident_id, LISTED, detail, by)
    return len(rows)


def enter_item(
    installation: Installation, incident_id: str, number: int, *, by: str | None = None
) -> PaperItem:
    """Record that a person entered an item; keep an earlier record."""
    _refuse_closed(installation, incident_id)
    items = paper_items(installation, incident_id)
    if not 1 <= number <= len(items):
        raise UsageError(
            f"item {number}: the paper list of {incident_id} has {len(items)} items. List them "
            "with `standfast recover paper`."
        )
    if items[number - 1].entered_at is None:
        _record(installation, incident_id, ENTERED, {"number": number}, by)
    return paper_items(installation, incident_id)[number - 1]


def _record(
    installation: Installation, incident_id: str, action: str, detail: JsonObject, by: str | None
) -> None:
    recorder = installation if by is None else replace(installation, actor=by)
    recorder.record_event(incident_id, action, detail)


def _refuse_closed(installation: Installation, incident_id: str) -> None:
    if not installation.ledger.incidents.get(incident_id).is_open:
        raise Refused(
            f"incident {incident_id}: closed. Run `standfast incident reopen {incident_id}` first."
        )


def _read(file: Path) -> list[list[str]]:
    """Read owner and item of each row; an error names only the row's number."""
    try:
        content = io.BytesIO(file.read_bytes())
        header, *rows = [[field.strip() for field in row] for row in CsvRows(content)] or [[]]
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}. Name a CSV file.") from None
    except (csv.Error, UnicodeDecodeError):
        raise UsageError(f"{file}: not a CSV file. Save it as CSV in UTF-8.") from None
    if [name.lower() for name in header] != _COLUMNS:
        raise UsageError(f"{file}: its first row is not the header. Write {','.join(_COLUMNS)}.")
    filled = [(number, row) for number, row in enumerate(rows, 2) if any(row)]
    for number, row in filled:
        if len(row) != len(_COLUMNS) or not all(row) or max(map(len, row)) > _LONGEST:
            raise UsageError(
                f"{file}: row {number} needs an owner and an item, each of at most {_LONGEST} "
                "characters. Correct it."
            )
    if not 1 <= len(filled) <= _MOST_ITEMS:
        raise UsageError(f"{file}: it has {len(filled)} items. Give 1 to {_MOST_ITEMS:,}.")
    return [row for _, row in filled]
