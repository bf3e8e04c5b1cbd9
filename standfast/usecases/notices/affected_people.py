"""Affected people of an incident: import, repeated rows, places, audience.

    add_affected(installation, incident, Listing(csv=Path("people.csv")))
    affected_audience(installation, incident)   # the audience `affected` of a notice

An affected person is a person whose data the incident exposed. An audience is a list of the
recipients of a notice (a message to the people that an incident concerns).

Rules
- The source of a list is a CSV file, an audience of the configuration, or logs that were copied and
  sealed as evidence (`usecases.evidence.affected_records`). When a list is added, its people are
  stored; a notice never reads the source again.
- The column `exposed` names the exposed data of a person, and `place` the jurisdiction in which the
  person lives. The caller passes a default for rows in which one of these columns is empty.
- Every affected person is counted once, even if a notice cannot reach that person. A row that
  repeats a mailbox or a person is not counted again, and neither is a person on an earlier list.
- The number of people of each place is stored as a fact (a dated statement) of the incident. Legal
  deadlines depend on this number.
- If a source is added again without a change, nothing is added: an interrupted command can be
  repeated.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from standfast.adapters.audience_sources.files import csv_audience
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ConfigurationError, Refused, UsageError
from standfast.ledger.incidents.affected_people import AffectedList, Page
from standfast.ledger.incidents.incident_facts import Statement
from standfast.local_time import day
from standfast.notices.audience import (
    Audience,
    Rejected,
    people_spool,
    person_as_list,
    person_from_list,
)
from standfast.notices.audience_rows import Recipient, Rules
from standfast.notices.encrypted_spool import PAGE
from standfast.records import JsonObject, Mode, digest
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import state_fact
from standfast.usecases.deadlines.obligations import obligations

WHY = "a person whose data was affected"
UNKNOWN = "unknown"
_EXPOSED, _PLACE = "exposed", "place"
_COLUMNS = {name: name for name in ("name", "language", _EXPOSED, _PLACE)} | {"address": "email"}
# Kinds of entries: usable address; person about whom somebody must decide; unusable row.
_REACHED, _HELD, _EXCLUDED = range(3)
_MOST_KINDS = 100  # different values in a column of one list; more mean that the column is wrong


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The source of a list, and default values for incomplete rows."""

    csv: Path | None = None
    columns: Mapping[str, str] | None = None  # the heading in the file, by Standfast's column name
    audience: str | None = None  # an audience of the configuration, instead of a file
    review: Audience | None = None  # people whose records were found in evidence
    exposed: str = ""
    place: str = ""
    why: str = WHY
    replaces: bool = False

    @property
    def source(self) -> str:
        """The source in words."""
        return "frozen logs" if self.review is not None else self.audience or str(self.csv)


@dataclass(frozen=True, kw_only=True)
class AffectedReport:
    """The affected people of an incident, in numbers."""

    lists: tuple[AffectedList, ...]
    people: int
    fields: Mapping[str, int]  # people by exposed field
    places: Mapping[str, int]  # people by place
    cannot_be_notified: int
    held: int


@dataclass(frozen=True, kw_only=True)
class Added:
    """The result of adding a list."""

    listed: AffectedList | None  # None if everybody is on an earlier list
    repeated: int  # rows of people that are listed already
    places_without_obligation: Mapping[str, int]
    report: AffectedReport


def add_affected(
    installation: Installation, incident_id: str, listing: Listing, *, by: str | None = None
) -> Added:
    """Store the people of a source as affected; state their numbers as facts.

    Raise UsageError for a source without people, ConfigurationError for a source that cannot be
    read, Refused for a closed incident.
    """
    row, ledger = installation.ledger.incidents.get(incident_id), installation.ledger
    if not row.is_open:
        raise Refused(
            f"incident {incident_id}: closed. Run `standfast incident reopen {incident_id}`, then "
            "add the list."
        )
    audience = _read(installation, incident_id, listing)
    _refuse_empty(audience)
    known = set() if listing.replaces else _known(installation, incident_id)
    entries = list(people_entries(audience, listing))
    source = digest(entries)
    earlier = ledger.affected.lists(incident_id)
    if source in {listed.summary["source_sha256"] for listed in earlier}:
        entries = []  # the command was repeated: add nothing
    fields, places = Counter[str](), Counter[str]()
    kept: list[list[Any]] = []
    for entry in entries:
        marks = _marks(entry)
        if marks & known:
            continue
        for field in _split(entry):
            fields[field] += 1
        places[_place_of(entry)] += 1
        kept.append(entry)
    for column, counts in ((_EXPOSED, fields), (_PLACE, places)):
        if len(counts) > _MOST_KINDS:
            raise UsageError(
                f"affected people: column {column!r} has more than {_MOST_KINDS} different values. "
                "Name the right column with --column."
            )
    author, listed = by or installation.actor, None
    if kept:
        summary: JsonObject = {
            "source": listing.source,
            "source_sha256": source,
            "fields": dict(fields),
            "places": dict(places),
            "cannot_be_notified": sum(entry[0] == _EXCLUDED for entry in kept),
            "held": sum(entry[0] == _HELD for entry in kept),
        }
        listed = ledger.affected.add(
            incident_id,
            _pages(kept),
            summary,
            replaces=listing.replaces,
            author=author,
            now=installation.clock(),
        )
    report = affected_report(installation, incident_id)
    return Added(
        listed=listed,
        repeated=audience.rows - len(kept),
        places_without_obligation=_state_counts(installation, incident_id, report, author),
        report=report,
    )


def check_csv(installation: Installation, listing: Listing) -> None:
    """Raise the error that `add_affected` would raise for this CSV file."""
    _refuse_empty(_read_csv(installation, listing))


def affected_report(installation: Installation, incident_id: str) -> AffectedReport:
    """Return the affected people of an incident, in numbers."""
    lists = installation.ledger.affected.lists(incident_id)
    fields, places = Counter[str](), Counter[str]()
    held = excluded = 0
    for listed in lists:
        summary = cast("Mapping[str, Any]", listed.summary)
        fields.update(summary["fields"])
        places.update(summary["places"])
        held += summary["held"]
        excluded += summary["cannot_be_notified"]
    return AffectedReport(
        lists=tuple(lists),
        people=sum(listed.people for listed in lists),
        fields=dict(sorted(fields.items())),
        places=dict(sorted(places.items())),
        cannot_be_notified=excluded,
        held=held,
    )


def affected_audience(installation: Installation, incident_id: str) -> Audience:
    """Return the audience `affected`, with the people of all lists.

    Raise ConfigurationError if the incident has no list.
    """
    recipients, held, rejected = people_spool(), people_spool(), []
    entries = list_entries(installation, incident_id)
    first = next(entries, None)
    if first is None:
        raise ConfigurationError(
            f"audience 'affected': {incident_id} has no list of affected people. Run `standfast "
            f"incident affected add {incident_id} --csv FILE`, then `standfast incident retry "
            f"{incident_id}`."
        )
    for kind, *content in chain([first], entries):
        if kind == _EXCLUDED:
            rejected.append(Rejected(row_number=content[0], reason=content[1]))
        else:
            (held if kind == _HELD else recipients).append(person_from_list(content))
    return Audience(recipients=recipients, held=held, rejected=rejected)


def list_entries(installation: Installation, incident_id: str) -> Iterator[list[Any]]:
    """Yield each listed person: the kind of entry, then the fields."""
    affected = installation.ledger.affected
    for listed in affected.lists(incident_id):
        for page in affected.pages(incident_id, listed):
            yield from map(list, page)


def listed_people(installation: Installation, incident_id: str) -> list[Recipient]:
    """Return the listed people, unmasked; record the access first."""
    lists = installation.ledger.affected.lists(incident_id)
    people = sum(listed.people for listed in lists)
    installation.record_event(incident_id, "affected.viewed", {"people": people})
    return [
        person_from_list(content)
        for kind, *content in list_entries(installation, incident_id)
        if kind != _EXCLUDED
    ]


def people_entries(audience: Audience, listing: Listing) -> Iterator[list[Any]]:
    """Yield each person of an audience as an entry of a list."""
    for kind, people in ((_REACHED, audience.recipients), (_HELD, audience.held)):
        for person in people:
            slots = dict(person.slots)
            exposed = slots.get(_EXPOSED) or listing.exposed
            slots[_EXPOSED] = ", ".join(_names(exposed))
            slots[_PLACE] = slots.get(_PLACE) or listing.place
            yield [kind, *person_as_list(replace(person, slots=slots))]
    for row in chain(audience.rejected, audience.suppressed):
        yield [_EXCLUDED, row.row_number, row.reason, listing.exposed, listing.place]


def _read(installation: Installation, incident_id: str, listing: Listing) -> Audience:
    if listing.review is not None:
        return listing.review
    if listing.audience is not None:
        row = installation.ledger.incidents.get(incident_id)
        if row.mode is Mode.EXERCISE:
            raise Refused(
                f"incident {incident_id}: an exercise reads no customers. Add a list with --csv."
            )
        return installation.adapters_for(row).audience(listing.audience)
    return _read_csv(installation, listing)


def _read_csv(installation: Installation, listing: Listing) -> Audience:
    today = day(installation.clock(), installation.config.organisation.time_zone)
    columns = {**_COLUMNS, **(listing.columns or {})}
    rules = Rules(why=listing.why, today=today)
    return csv_audience(cast("Path", listing.csv), columns, rules, is_strict=False)


def _refuse_empty(audience: Audience) -> None:
    if not audience.rows:
        raise UsageError("affected people: nobody is in the source. Correct the file or the query.")


def _known(installation: Installation, incident_id: str) -> set[str]:
    """Return the keys and addresses of all listed people; see `_marks`."""
    return {mark for entry in list_entries(installation, incident_id) for mark in _marks(entry)}


def _marks(entry: list[Any]) -> set[str]:
    """Return the key and the address of a person, to recognise a repetition.

    Return the empty set for an excluded row, which has no key and no address.
    """
    if entry[0] == _EXCLUDED:
        return set()
    return {str(mark).casefold() for mark in entry[1:3] if mark}


def _split(entry: list[Any]) -> tuple[str, ...]:
    exposed = entry[3] if entry[0] == _EXCLUDED else person_from_list(entry[1:]).slots[_EXPOSED]
    return _names(exposed) or (UNKNOWN,)


def _place_of(entry: list[Any]) -> str:
    place = entry[4] if entry[0] == _EXCLUDED else person_from_list(entry[1:]).slots[_PLACE]
    return place or UNKNOWN


def _names(exposed: str) -> tuple[str, ...]:
    """Split a text into names of exposed fields at commas, semicolons or bars."""
    return tuple(sorted({name.strip() for name in re.split(r"[,;|]", exposed) if name.strip()}))


def _pages(entries: Iterable[list[Any]]) -> Iterator[Page]:
    left = iter(entries)
    while page := list(islice(left, PAGE)):
        yield page


def _state_counts(
    installation: Installation, incident_id: str, report: AffectedReport, author: str
) -> Mapping[str, int]:
    """State the number of people of each place as a fact of the incident.

    No fact is stated for places for which no legal duty to notify is configured. Return these
    places, with their numbers of people.
    """
    known = {obligation.jurisdiction for obligation in obligations(installation.config)}
    reference = "lists of affected people, SHA-256 " + ", ".join(
        listed.digest[:16] for listed in report.lists
    )
    for place, count in report.places.items():
        if place in known:
            statement = Statement(
                kind=FactKind.AFFECTED, name=place, count=count, reference=reference
            )
            state_fact(installation, incident_id, statement, author)
    return {place: count for place, count in report.places.items() if place not in known}
