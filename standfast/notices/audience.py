"""Audiences: who is told, and why each row that tells nobody does not.

Owns checking, deduplicating and counting rows, from wherever they come. Leaves reading them to
`audience_files`, `audience_databases` and `audience_people`, how people are kept (encrypted, under
a key per incident) to the ledger, and what is written to them to `prepared`.

Rules
- rows = recipients + held + suppressed + rejected + repeated, always: nobody is dropped without a
  line that says why.
- One mailbox is told once, and so is one person: of two rows with the same address (see
  `addresses`) or the same key the first counts. With `each_address` a person is told at each.
- Who has no e-mail address that could be written to, and a postal one, is told by a letter: then
  the postal address is the mailbox, with the name that stands on it.
- Each recipient has a reason to be told, from the row or from the settings; without one the row is
  rejected.
- Who is on the list of suppression is never written to, whatever else the row says. An entry of it
  that can mean nobody is counted, since its person may be written to.
- A minor, and whoever has died, is held for a person to decide. One row of a person that says so is
  enough, even one that tells nobody itself, and a flag that cannot be read counts as one that is
  raised.
- Only the columns that the configuration names are read; the rest of a customer's record stays
  where it is.
- Reasons name rows and columns, never what stands in them.
- A source is read once, to its end and at its own pace, before anybody is told; however long it
  is, no more than a few pages of it are in memory (`spool`, `seen`).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain
from typing import Any, TypeAlias

from standfast.errors import ConfigurationError
from standfast.notices.duplicate_rows import Seen
from standfast.notices.encrypted_spool import Spool
from standfast.notices.mail_addresses import Address, addresses_in, parse_address
from standfast.notices.plain_text import one_line
from standfast.notices.prepared_notice import LONGEST_VALUE

KNOWN_COLUMNS = ("key", "address", "name", "language", "why")
POSTAL_COLUMNS = tuple(f"postal_{number}" for number in range(1, 7))  # as the window shows them
FLAG_COLUMNS = ("is_minor", "is_deceased", "born_on", "died_on")  # read here, never written out
MINOR, DECEASED = "a minor", "has died"
_OWN_COLUMNS = frozenset((*KNOWN_COLUMNS, *FLAG_COLUMNS))

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NO = frozenset({"", "0", "f", "false", "n", "no", "non", "nein", "off"})
_YES = frozenset({"1", "t", "true", "y", "yes", "si", "sí", "oui", "ja", "on", "x"})

Row: TypeAlias = "Mapping[str, str] | str"  # the values by our names, or why it cannot be read


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """One person who is told. All of it is personal."""

    key: str  # who it is in the source; else the address
    address: str  # its domain as A-labels; empty for whoever gets a letter
    name: str = ""
    language: str = ""  # as the source has it; empty when it states none
    why: str = ""  # why this person is told
    slots: Mapping[str, str] = field(default_factory=dict)  # further columns
    held: str = ""  # why a person has to decide first

    @property
    def postal(self) -> tuple[str, ...]:
        """The lines of the postal address, the name first; empty where there is none."""
        lines = postal_lines(self.slots)
        return (self.name, *lines) if self.name and lines else lines

    def values(self) -> Mapping[str, str]:
        """Give what `Prepared.fill` takes: everything a template may call `recipient.…`."""
        return {
            **self.slots,
            "name": self.name,
            "address": self.address,
            "language": self.language,
            "why": self.why,
        }


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A row that tells nobody. Rows count from 1; in a CSV file the header is row 1."""

    row_number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Audience:
    """Everyone a source named, in its order."""

    recipients: Sequence[Recipient]
    rejected: Sequence[Rejected] = ()  # to be told in another way; each needs a person's eye
    repeated: Sequence[Rejected] = ()  # the same mailbox or person as an earlier row
    suppressed: Sequence[Rejected] = ()  # never to be written to
    held: Sequence[Recipient] = ()  # minors, and whoever has died: a person decides
    unread_entries: int = 0  # of the list of suppression, that keep nobody from being told

    @property
    def rows(self) -> int:
        left_out = len(self.rejected) + len(self.repeated) + len(self.suppressed)
        return len(self.recipients) + len(self.held) + left_out


class Suppression:
    """Who is never written to, and why: by address or by key."""

    def __init__(self, reasons: Mapping[str, str] | None = None) -> None:
        """`reasons` are by what stands on the list, addresses in any spelling, or a key."""
        self.unread = 0  # entries that are neither a key nor wholly addresses
        self.keys = 0  # entries that are no address: they mean somebody only where rows have keys
        self._reasons: dict[str, str] = {}
        for written, reason in (reasons or {}).items():
            entry = _key(written)
            why = one_line(reason) or "on the list of those never to be written to"
            self._reasons[entry] = why
            named = addresses_in(entry)
            for address in chain.from_iterable(named):
                self._reasons[address.key] = why
            self.keys += not named
            self.unread += not all(named)  # as a key it still counts

    def reason(self, mailbox: str, key: str) -> str:
        """Say why this person is not written to; empty when nothing forbids it."""
        return self._reasons.get(mailbox) or self._reasons.get(key) or ""


NOBODY = Suppression()


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds for every row of one audience."""

    language: str = ""  # of rows that state none
    why: str = ""  # why these people are told, of rows that do not say
    suppression: Suppression = NOBODY
    each_address: bool = False  # a person with two addresses is told at both
    adult_years: int = 18
    today: date | None = None  # for ages; without it a date of birth holds the row


NO_RULES = Rules()


@dataclass(frozen=True, kw_only=True)
class _Read:
    """One row that could be read."""

    number: int
    mailbox: str
    recipient: Recipient


def check_columns(names: Iterable[str]) -> None:
    """Raise ConfigurationError unless these may be an audience's columns."""
    names = list(names)
    if "address" not in names and POSTAL_COLUMNS[0] not in names:
        raise ConfigurationError(
            "an audience needs a column `address`, or `postal_1` and `postal_2`; name it"
        )
    if wrong := [name for name in names if not _COLUMN.fullmatch(name)]:
        raise ConfigurationError(
            "an audience's columns are named in small letters, digits and _, not "
            f"{', '.join(wrong)[:200]}"
        )
    if len(set(names)) < len(names):
        raise ConfigurationError("the audience's query names a column twice; use AS")


def postal_lines(values: Mapping[str, str]) -> tuple[str, ...]:
    """Give the lines of a postal address, without the name."""
    return tuple(line for column in POSTAL_COLUMNS if (line := values.get(column, "")))


def gather(rows: Iterable[tuple[int, Row]], rules: Rules = NO_RULES) -> Audience:
    """Sort numbered rows into who is told, who is held, and who is left out and why."""
    read: Spool[_Read] = Spool(_written, _read_back)
    rejected, suppressed = _rejections(), _rejections()
    flagged: Spool[tuple[int, str]] = Spool(list, _flag_read_back)
    holding = has_keys = False
    for number, row in rows:
        try:
            one = _read(number, row, rules)
        except ValueError as error:
            rejected.append(Rejected(row_number=number, reason=str(error)))
            if person := _flagged_person(row, rules):
                flagged.append((number, person))
            continue
        has_keys = has_keys or one.recipient.key != one.mailbox
        if reason := rules.suppression.reason(one.mailbox, one.recipient.key):
            suppressed.append(Rejected(row_number=number, reason=f"not written to: {reason}"))
            if one.recipient.held:
                flagged.append((number, one.recipient.key))
        else:
            read.append(one)
            holding = holding or bool(one.recipient.held)
    holding = holding or bool(flagged)
    with closing(Seen()) as seen:
        if holding:
            _keep_flagged(flagged, seen)
            _keep_held(read, seen, flagging=bool(flagged))
        recipients, held, repeated = _deduplicated(read, seen, rules, holding=holding)
    return Audience(
        recipients=recipients,
        rejected=rejected,
        repeated=repeated,
        suppressed=suppressed,
        held=held,
        unread_entries=rules.suppression.unread + (0 if has_keys else rules.suppression.keys),
    )


def _keep_flagged(flagged: Spool[tuple[int, str]], seen: Seen) -> None:
    """Note the first row of each person that tells nobody, and says that somebody has to decide."""
    for page in flagged.pages():
        _keep_first(((seen.mark("flagged", person), number) for number, person in page), seen)


def _keep_held(read: Spool["_Read"], seen: Seen, *, flagging: bool) -> None:
    """Note the first row by which a person is held: one that says so, else the first of theirs."""
    for page in read.pages():
        flags = [seen.mark("flagged", one.recipient.key) for one in page] if flagging else []
        known = seen.known(flags)
        _keep_first(
            (
                (seen.mark("held", one.recipient.key), one.number)
                for place, one in enumerate(page)
                if one.recipient.held or (flagging and flags[place] in known)
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
    read: Spool["_Read"], seen: Seen, rules: Rules, *, holding: bool
) -> tuple[Spool[Recipient], Spool[Recipient], Spool[Rejected]]:
    recipients, held, repeated = _people(), _people(), _rejections()
    for page in read.pages():
        mailboxes = [seen.mark("mailbox", one.mailbox) for one in page]
        people = [seen.mark("person", one.recipient.key) for one in page]
        holds = [seen.mark("held", one.recipient.key) for one in page] if holding else []
        known = seen.known((*mailboxes, *people, *holds))
        new: dict[bytes, int] = {}
        for place, one in enumerate(page):
            mailbox, person = mailboxes[place], people[place]
            first_held = known.get(holds[place]) if holding else None
            if first_held == one.number:
                held.append(_with_reason(one.recipient, seen))
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
                        known[mark] = new[mark] = one.number
                recipients.append(one.recipient)
                continue
            repeated.append(Rejected(row_number=one.number, reason=why))
        seen.add(new)
    return recipients, held, repeated


def _with_reason(person: Recipient, seen: Seen) -> Recipient:
    if person.held:
        return person
    (row,) = seen.known([seen.mark("flagged", person.key)]).values()
    why = f"{MINOR} or {DECEASED}: row {row} of the same person says so, and tells nobody"
    return replace(person, held=why)


def _people() -> Spool[Recipient]:
    return Spool(_person_written, _person_read_back)


def _rejections() -> Spool[Rejected]:
    return Spool(
        lambda one: (one.row_number, one.reason),
        lambda written: Rejected(row_number=written[0], reason=written[1]),
    )


def _flag_read_back(written: Sequence[Any]) -> tuple[int, str]:
    number, person = written
    return number, person


def _written(one: "_Read") -> Sequence[Any]:
    return (one.number, one.mailbox, _person_written(one.recipient))


def _read_back(written: Sequence[Any]) -> "_Read":
    number, mailbox, person = written
    return _Read(number=number, mailbox=mailbox, recipient=_person_read_back(person))


def _person_written(one: Recipient) -> Sequence[Any]:
    return (one.key, one.address, one.name, one.language, one.why, one.slots, one.held)


def _person_read_back(written: Sequence[Any]) -> Recipient:
    key, address, name, language, why, slots, held = written
    return Recipient(
        key=key, address=address, name=name, language=language, why=why, slots=slots, held=held
    )


def _read(number: int, row: Row, rules: Rules) -> _Read:
    """Give the row; raise ValueError with the reason when it cannot tell anybody."""
    if isinstance(row, str):
        raise ValueError(row)
    address = _address(row)
    values = {name: _value(name, raw) for name, raw in row.items() if name != "address"}
    mailbox = _mailbox(address, values)
    why = values.get("why") or rules.why
    if not why:
        raise ValueError("neither the row nor the audience's `why` says why this person is told")
    spoken = values.get("language", "")
    return _Read(
        number=number,
        mailbox=mailbox,
        recipient=Recipient(
            key=_key(values.get("key", "")) or mailbox,
            address=address.text if address else "",
            name=values.get("name", ""),
            language=spoken.replace("_", "-") if _LANGUAGE.fullmatch(spoken) else rules.language,
            why=why,
            slots={name: value for name, value in values.items() if name not in _OWN_COLUMNS},
            held=_held(values, rules),
        ),
    )


def _flagged_person(row: Row, rules: Rules) -> str:
    """Give whose row that tells nobody this is, where it says that somebody has to decide."""
    if isinstance(row, str):
        return ""
    values = {name: one_line(raw[:LONGEST_VALUE]) for name, raw in row.items() if name != "address"}
    if not _held(values, rules):
        return ""
    try:
        return _key(values.get("key", "")) or _mailbox(_address(row), values)
    except ValueError:
        return ""


def _address(row: Mapping[str, str]) -> Address | None:
    """Give the mail address; None when there is none and a letter would arrive all the same."""
    try:
        return parse_address(row.get("address", ""))
    except ValueError:
        lines = sum(bool(row.get(column, "").strip()) for column in POSTAL_COLUMNS)
        if lines >= 2:  # a street and a town
            return None
        if lines:
            raise ValueError("there is no address, and the postal one is a single line") from None
        raise


def _mailbox(address: Address | None, values: Mapping[str, str]) -> str:
    """Give what is the same for every row of one mailbox, or of one letter's address."""
    if address:
        return address.key
    lines = (values.get("name", ""), *postal_lines(values))
    return f"post:{chr(10).join(lines).casefold()}"


def _key(written: str) -> str:
    """Give a key as it is compared: of two ways to write an accent in Unicode it has one."""
    return unicodedata.normalize("NFC", one_line(written))


def _held(values: Mapping[str, str], rules: Rules) -> str:
    """Say why a person has to decide about this row, or nothing."""
    for column, what in (("is_deceased", DECEASED), ("is_minor", MINOR)):
        flag = values.get(column, "").casefold()
        if flag in _YES:
            return what
        if flag not in _NO:
            return f"perhaps {what}: column {column!r} says neither yes nor no"
    if values.get("died_on"):
        return DECEASED
    if born := values.get("born_on"):
        try:
            birth = date.fromisoformat(born[:10])
        except ValueError:
            return f"perhaps {MINOR}: column 'born_on' is no date"
        if rules.today is None or _years(birth, rules.today) < rules.adult_years:
            return MINOR
    return ""


def _years(birth: date, today: date) -> int:
    """Count full years; who was born on 29 February has them on 1 March."""
    has_had_birthday = (today.month, today.day) >= (birth.month, birth.day)
    return today.year - birth.year - (not has_had_birthday)


def _value(name: str, raw: str) -> str:
    if len(raw) > 4 * LONGEST_VALUE:  # before looking at each character of it
        raise ValueError(f"column {name!r} is longer than {LONGEST_VALUE} characters")
    if not raw.isascii() and any("\ud800" <= character <= "\udfff" for character in raw):
        raise ValueError(f"column {name!r} is not UTF-8")
    value = one_line(raw)
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"column {name!r} is longer than {LONGEST_VALUE} characters")
    return value
