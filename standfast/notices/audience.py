"""Audience: rows sorted into recipients, held, suppressed, repeated.

    audience = gather(enumerate(rows, 1), Rules(why="their record was open"))

An audience is the list of people for a notice, read from a configured source. A held person, such
as a minor, is notified only if another person decides so. A suppressed person must never be
contacted. This module checks, deduplicates and counts rows from every source. `audience_rows` reads
one row.

Rules
- rows = recipients + held + suppressed + rejected + repeated. Every row that notifies nobody has a
  reason.
- If two rows have the same address (see `mail_addresses`) or the same key, only the first row is
  used. Thus each mailbox and each person is notified once. With `each_address`, a person is
  notified at each of their addresses.
- A row is flagged if it states that its person is a minor or has died. One flagged row is enough to
  hold a person, even if that row itself is rejected or suppressed.
- A source is read to its end once before anybody is notified. Only a few pages of its rows are in
  memory at a time (`encrypted_spool`, `duplicate_rows`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from standfast.notices.audience_rows import (
    DECEASED,
    MINOR,
    ReadRow,
    Recipient,
    Row,
    Rules,
    flagged_person,
    read_row,
)
from standfast.notices.duplicate_rows import Seen
from standfast.notices.encrypted_spool import Spool
from standfast.plurals import counted


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A row that notifies nobody; the header of a CSV file is row 1."""

    row_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Audience:
    """All rows of a source, sorted by their result."""

    recipients: Sequence[Recipient]
    rejected: Sequence[Rejected] = ()  # a person must notify each of them in another way
    repeated: Sequence[Rejected] = ()  # the same mailbox or person as an earlier row
    suppressed: Sequence[Rejected] = ()  # never to be contacted
    held: Sequence[Recipient] = ()  # minors and people that have died: a person decides
    ineffective_entries: int = 0  # entries of the suppression list that exclude nobody

    @property
    def rows(self) -> int:
        left_out = len(self.rejected) + len(self.repeated) + len(self.suppressed)
        return len(self.recipients) + len(self.held) + left_out


NO_RULES = Rules()


def gather(rows: Iterable[tuple[int, Row]], rules: Rules = NO_RULES) -> Audience:
    """Sort numbered rows into recipients, held recipients and excluded rows."""
    rows_read: Spool[ReadRow] = Spool(_written, _read_back)
    rejected, suppressed = _rejections(), _rejections()
    flagged: Spool[tuple[int, str]] = Spool(list, _flag_read_back)
    has_held = has_keys = False
    for number, row in rows:
        try:
            row_read = read_row(number, row, rules)
        except ValueError as error:
            rejected.append(Rejected(row_number=number, reason=str(error)))
            if person := flagged_person(row, rules):
                flagged.append((number, person))
            continue
        has_keys = has_keys or row_read.recipient.key != row_read.mailbox
        if reason := rules.suppression.reason(row_read.mailbox, row_read.recipient.key):
            suppressed.append(Rejected(row_number=number, reason=f"must not be notified: {reason}"))
            if row_read.recipient.held:
                flagged.append((number, row_read.recipient.key))
        else:
            rows_read.append(row_read)
            has_held = has_held or bool(row_read.recipient.held)
    has_held = has_held or bool(flagged)
    with closing(Seen()) as seen:
        if has_held:
            _keep_flagged(flagged, seen)
            _keep_held(rows_read, seen, has_flagged=bool(flagged))
        recipients, held, repeated = _deduplicated(rows_read, seen, rules, has_held=has_held)
    return Audience(
        recipients=recipients,
        rejected=rejected,
        repeated=repeated,
        suppressed=suppressed,
        held=held,
        ineffective_entries=rules.suppression.unread + (0 if has_keys else rules.suppression.keys),
    )


def _keep_flagged(flagged: Spool[tuple[int, str]], seen: Seen) -> None:
    """Store the first row number of each person in `flagged`.

    `flagged` contains the rejected and suppressed rows with a flag.
    """
    for page in flagged.pages():
        _keep_first(((seen.mark("flagged", person), number) for number, person in page), seen)


def _keep_held(read: Spool[ReadRow], seen: Seen, *, has_flagged: bool) -> None:
    """Store the number of the row that represents each held person.

    It is the person's first row in `read` if one of the person's rejected or suppressed rows has a
    flag. Otherwise it is the person's first row in `read` that itself has a flag.
    """
    for page in read.pages():
        flags = [seen.mark("flagged", row.recipient.key) for row in page] if has_flagged else []
        known = seen.known(flags)
        _keep_first(
            (
                (seen.mark("held", row.recipient.key), row.number)
                for index, row in enumerate(page)
                if row.recipient.held or (has_flagged and flags[index] in known)
            ),
            seen,
        )


def _keep_first(marks: Iterable[tuple[bytes, int]], seen: Seen) -> None:
    first: dict[bytes, int] = {}
    for mark, number in marks:
        first.setdefault(mark, number)
    known = seen.known(first)
    seen.add({mark: number for mark, number in first.items() if mark not in known})


def _deduplicated(
    read: Spool[ReadRow], seen: Seen, rules: Rules, *, has_held: bool
) -> tuple[Spool[Recipient], Spool[Recipient], Spool[Rejected]]:
    recipients, held, repeated = people_spool(), people_spool(), _rejections()
    for page in read.pages():
        mailboxes = [seen.mark("mailbox", row.mailbox) for row in page]
        people = [seen.mark("person", row.recipient.key) for row in page]
        holds = [seen.mark("held", row.recipient.key) for row in page] if has_held else []
        known = seen.known((*mailboxes, *people, *holds))
        new: dict[bytes, int] = {}
        for index, row in enumerate(page):
            mailbox, person = mailboxes[index], people[index]
            first_held = known.get(holds[index]) if has_held else None
            if first_held == row.number:
                held.append(_with_reason(row.recipient, seen))
                continue
            if first_held is not None:
                why = f"same person as row {first_held}, held"
            elif mailbox in known:
                why = f"same address as row {known[mailbox]}"
            elif person in known and not rules.each_address:
                why = f"same person as row {known[person]}"
            else:
                for mark in (mailbox, person):
                    if mark not in known:
                        known[mark] = new[mark] = row.number
                recipients.append(row.recipient)
                continue
            repeated.append(Rejected(row_number=row.number, reason=why))
        seen.add(new)
    return recipients, held, repeated


def _with_reason(person: Recipient, seen: Seen) -> Recipient:
    if person.held:
        return person
    (row,) = seen.known([seen.mark("flagged", person.key)]).values()
    why = (
        f"{MINOR} or {DECEASED}: row {row} of the same person states it, so this person is not "
        "notified"
    )
    return replace(person, held=why)


def exclusion_summary(audience: Audience) -> Iterator[str]:
    """Describe the rows excluded from sending, by reason."""
    for rows, reason in (
        (audience.held, "held: a person decides"),
        (audience.suppressed, "on the suppression list"),
        (audience.repeated, "with the same person or address as an earlier row"),
    ):
        if rows:
            yield f"{counted(len(rows), 'row')} {reason}"
    yield from describe_ineffective_entries(audience)


def describe_ineffective_entries(audience: Audience) -> Iterator[str]:
    """Describe the entries of the suppression list that have no effect."""
    if many := audience.ineffective_entries:
        yield (
            f"{counted(many, 'entry', 'entries')} of the suppression list without a valid "
            "address: such an entry excludes nobody, unless it is the key of a row of the audience"
        )


def people_spool() -> Spool[Recipient]:
    """Return an empty list that can contain any number of people."""
    return Spool(person_as_list, person_from_list)


def _rejections() -> Spool[Rejected]:
    return Spool(
        lambda rejected: (rejected.row_number, rejected.reason),
        lambda written: Rejected(row_number=written[0], reason=written[1]),
    )


def _flag_read_back(written: Sequence[Any]) -> tuple[int, str]:
    number, person = written
    return number, person


def _written(row: ReadRow) -> Sequence[Any]:
    return (row.number, row.mailbox, person_as_list(row.recipient))


def _read_back(written: Sequence[Any]) -> ReadRow:
    number, mailbox, person = written
    return ReadRow(number=number, mailbox=mailbox, recipient=person_from_list(person))


def person_as_list(person: Recipient) -> Sequence[Any]:
    """Return a person as a list that JSON can represent."""
    return (
        person.key,
        person.address,
        person.name,
        person.language,
        person.why,
        person.slots,
        person.held,
    )


def person_from_list(written: Sequence[Any]) -> Recipient:
    """Return the person that `person_as_list` wrote."""
    key, address, name, language, why, slots, held = written
    return Recipient(
        key=key, address=address, name=name, language=language, why=why, slots=slots, held=held
    )
