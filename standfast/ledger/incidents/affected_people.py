"""Stored lists of affected people: unchangeable, encrypted, with a digest.

Affected people are the people whose data an incident exposed. A notice is a message to them.

Rules
- A list is written in one transaction and never changed. Its digest covers all its pages, in order.
  The audit event (the entry in the signed audit log) contains this digest, which proves later what
  the list contained.
- The people of a list are encrypted with the key of the incident, like the recipients of notices.
- A list adds people to the earlier lists, or replaces these lists.
- If a notice was planned from the earlier lists, a new list causes a further round (planning) of
  the notice, for the added people. This round needs an approval of its own.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select

from standfast.errors import Damaged
from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import affected_list, affected_page, incident, notice
from standfast.playbook.actions.shared_arguments import AFFECTED
from standfast.records import JsonObject, canonical

LISTED = "affected.listed"  # action of a list's audit event
Page = Sequence[Sequence[Any]]  # people, each as a sequence of fields


@dataclass(frozen=True, kw_only=True)
class AffectedList:
    """One list, without its people."""

    number: int  # counts the lists of the incident, from 1
    people: int
    pages: int
    digest: str
    replaces: bool
    summary: JsonObject  # source; numbers of people by field and by jurisdiction
    author: str
    recorded_at: datetime


class AffectedPeople:
    """The lists of every incident."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def lists(self, incident_id: str) -> list[AffectedList]:
        """Return the lists that no later list replaced, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(affected_list)
                .where(affected_list.c.incident == incident_id)
                .order_by(affected_list.c.number)
            ).all()
        found = [self._decrypt_row(row) for row in rows]
        replacing = [place for place, listed in enumerate(found) if listed.replaces]
        return found[replacing[-1] :] if replacing else found

    def pages(self, incident_id: str, listed: AffectedList) -> Iterator[Page]:
        """Yield the pages of a list; Damaged if they were changed."""
        hashed = hashlib.sha256()
        for number in range(1, listed.pages + 1):
            key = (incident_id, listed.number, number)
            with self._database.reading() as connection:
                sealed = connection.scalar(
                    select(affected_page.c.sealed).where(
                        affected_page.c.incident == incident_id,
                        affected_page.c.number == listed.number,
                        affected_page.c.page == number,
                    )
                )
            if sealed is None:
                break
            page = self._database.cipher.open(incident_id, _context(*key), sealed)["people"]
            hashed.update(canonical(page))
            yield page  # type: ignore[misc]  # `add` wrote a page of people
        if hashed.hexdigest() != listed.digest:
            raise Damaged(
                f"affected people of {incident_id}, list {listed.number}: changed since it was "
                "frozen. Run `standfast audit verify`."
            )

    def add(
        self,
        incident_id: str,
        pages: Iterable[Page],
        summary: JsonObject,
        *,
        replaces: bool,
        author: str,
        now: datetime,
    ) -> AffectedList:
        """Store an unchangeable list for an existing incident."""
        cipher = self._database.cipher
        with self._database.write(
            actor=author, subject=incident_id, action=LISTED, now=now
        ) as write:
            write.exclude_writers()
            number = 1 + int(
                write.connection.scalar(
                    select(func.count()).where(affected_list.c.incident == incident_id)
                )
                or 0
            )
            hashed, people, count = hashlib.sha256(), 0, 0
            for count, page in enumerate(pages, 1):
                hashed.update(canonical(list(page)))
                people += len(page)
                sealed = cipher.seal(
                    incident_id, _context(incident_id, number, count), {"people": list(page)}
                )
                write.insert(
                    affected_page,
                    {"incident": incident_id, "number": number, "page": count, "sealed": sealed},
                )
            listed = AffectedList(
                number=number,
                people=people,
                pages=count,
                digest=hashed.hexdigest(),
                replaces=replaces,
                summary=summary,
                author=author,
                recorded_at=now,
            )
            write.insert(
                affected_list,
                {
                    "incident": incident_id,
                    "number": number,
                    "people": people,
                    "pages": count,
                    "digest": listed.digest,
                    "replaces": replaces,
                    "sealed": cipher.seal(INSTALLATION, _context(incident_id, number), summary),
                    "author": author,
                    "recorded_at": now,
                },
            )
            is_planned = write.connection.scalar(
                select(func.count()).where(
                    notice.c.incident == incident_id, notice.c.audience == AFFECTED
                )
            )
            if is_planned:
                write.update(incident, (incident_id,), joined=incident.c.joined + 1)
            write.add_detail(number=number, people=people, digest=listed.digest, replaces=replaces)
        return listed

    def _decrypt_row(self, row: Row[Any]) -> AffectedList:
        summary = self._database.cipher.open(
            INSTALLATION, _context(row.incident, row.number), row.sealed
        )
        return AffectedList(
            number=row.number,
            people=row.people,
            pages=row.pages,
            digest=row.digest,
            replaces=row.replaces,
            summary=summary,
            author=row.author,
            recorded_at=row.recorded_at,
        )


def _context(incident_id: str, *numbers: int) -> str:
    return f"affected {'/'.join([incident_id, *map(str, numbers)])}"
