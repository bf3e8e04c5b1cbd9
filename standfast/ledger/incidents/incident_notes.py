"""Stored notes of people about an incident: encrypted text, no repeats.

Rules
- Notes are only added. A note that equals the last note changes nothing. So a call that may have
  succeeded can be repeated.
- The files of a note are copied to the evidence of the incident and sealed (signed). The audit
  event of the note, its entry in the audit log, contains the number of files and the seal.
- The text is encrypted, because it may name people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import incident_note
from standfast.records import Json

NOTED = "incident.noted"  # action of a note's audit event, which contains the seal of its files


@dataclass(frozen=True, kw_only=True)
class Note:
    """One note of a person about an incident, decrypted."""

    number: int  # counts the notes of the incident, from 1
    text: str
    files: int = 0
    folder: str = ""  # folder SOURCE/TOKEN in the incident's evidence; "" without files
    author: str
    recorded_at: datetime


class IncidentNotes:
    """The notes of every incident."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def of_incident(self, incident_id: str) -> list[Note]:
        """Return the notes of an incident, oldest first."""
        with self._database.reading() as connection:
            return self._read(connection, incident_id)

    def add(
        self,
        incident_id: str,
        text: str,
        *,
        author: str,
        now: datetime,
        files: int = 0,
        folder: str = "",
        seal: Mapping[str, Json] | None = None,
    ) -> Note:
        """Add a note to an existing incident.

        `seal` describes the sealed files; it is copied to the audit event of the note.
        """
        with self._database.write(
            actor=author, subject=incident_id, action=NOTED, now=now
        ) as write:
            write.exclude_writers()
            earlier = self._read(write.connection, incident_id)
            if earlier and (earlier[-1].author, earlier[-1].text, earlier[-1].folder) == (
                *(author, text, folder),
            ):
                return earlier[-1]
            note = Note(
                number=len(earlier) + 1,
                text=text,
                files=files,
                folder=folder,
                author=author,
                recorded_at=now,
            )
            sealed = self._database.cipher.seal(
                INSTALLATION, _context(incident_id, note.number), {"text": text}
            )
            write.insert(
                incident_note,
                {
                    "incident": incident_id,
                    "number": note.number,
                    "sealed": sealed,
                    "files": files,
                    "folder": folder,
                    "author": author,
                    "recorded_at": now,
                },
            )
            write.add_detail(number=note.number, files=files, **(seal or {}))
        return note

    def _read(self, connection: Connection, incident_id: str) -> list[Note]:
        rows = connection.execute(
            select(incident_note)
            .where(incident_note.c.incident == incident_id)
            .order_by(incident_note.c.number)
        )
        return [self._decrypt_row(row) for row in rows]

    def _decrypt_row(self, row: Row[Any]) -> Note:
        place = _context(row.incident, row.number)
        sealed = self._database.cipher.open(INSTALLATION, place, row.sealed)
        return Note(
            number=row.number,
            text=cast("str", sealed["text"]),
            files=row.files,
            folder=row.folder,
            author=row.author,
            recorded_at=row.recorded_at,
        )


def _context(incident_id: str, number: int) -> str:
    return f"incident_note {incident_id}/{number}"
