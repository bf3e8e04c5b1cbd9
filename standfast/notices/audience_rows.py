"""One row of an audience: columns, suppression list, minors, the deceased.

An audience is the list of people for a notice. `audience` removes repeated rows and decides about
each person. The readers of sources are in `adapters.audience_sources`.

Rules
- A person with a postal address, but without a usable e-mail address, receives a letter. The name
  and the postal address then identify the mailbox.
- Each recipient has a reason for the notice, from the row or from the settings. A row without a
  reason is rejected.
- A person on the suppression list is never contacted, even if the row states something else. An
  entry of the list that can match nobody is counted, because the intended person may be contacted.
- A minor or a person that has died is held: another person must decide about the notice. A flag
  that cannot be read is treated as set.
- Only the columns that the configuration names are read. The rest of a customer's record stays in
  its source.
- Reasons contain the numbers of rows and the names of columns, never values.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import TypeAlias

from standfast.errors import ConfigurationError
from standfast.notices.mail_addresses import Address, addresses_in, parse_address
from standfast.notices.plain_text import one_line
from standfast.notices.prepared_notice import LONGEST_VALUE

KNOWN_COLUMNS = ("key", "address", "name", "language", "why")
POSTAL_COLUMNS = tuple(
    f"postal_{number}" for number in range(1, 7)
)  # lines, as in the window of an envelope
FLAG_COLUMNS = ("is_minor", "is_deceased", "born_on", "died_on")  # not available to templates
MINOR, DECEASED = "a minor", "has died"
_OWN_COLUMNS = frozenset((*KNOWN_COLUMNS, *FLAG_COLUMNS))
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NO = frozenset({"", "0", "f", "false", "n", "no", "non", "nein", "off"})
_YES = frozenset({"1", "t", "true", "y", "yes", "si", "sí", "oui", "ja", "on", "x"})
Row: TypeAlias = "Mapping[str, str] | str"  # values by column, or the reason why it is unreadable


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """A person that is notified. All fields are personal data."""

    key: str  # identifies the person in the source; the mailbox if the source has no key
    address: str  # with the domain as A-labels; "" for a person that receives a letter
    name: str = ""
    language: str = ""  # as in the source; "" if the source has none
    why: str = ""  # the reason why this person is notified
    slots: Mapping[str, str] = field(default_factory=dict)  # further columns
    held: str = ""  # the reason why somebody must decide before this person is notified, or ""

    @property
    def postal(self) -> tuple[str, ...]:
        """Return the lines of the postal address, the name first; () if none."""
        lines = postal_lines(self.slots)
        return (self.name, *lines) if self.name and lines else lines

    def values(self) -> Mapping[str, str]:
        """Return the values that a template uses as `recipient.…`."""
        return {
            **self.slots,
            "name": self.name,
            "address": self.address,
            "language": self.language,
            "why": self.why,
        }


class Suppression:
    """The people that must never be contacted, by address or key."""

    def __init__(self, reasons: Mapping[str, str] | None = None) -> None:
        """Read the entries (addresses in any spelling, or keys), with reasons."""
        self.unread = 0  # entries with an @ in a word that is not a valid address
        self.keys = 0  # entries without an address: they match only if the rows have keys
        self._reasons: dict[str, str] = {}
        for written, reason in (reasons or {}).items():
            entry = _key(written)
            why = one_line(reason) or "on the suppression list"
            self._reasons[entry] = why
            named = addresses_in(entry)
            for address in chain.from_iterable(named):
                self._reasons[address.key] = why
            self.keys += not named
            self.unread += not all(named)  # the whole entry still matches an equal key

    def reason(self, mailbox: str, key: str) -> str:
        """Return the reason why a person must not be contacted, or ""."""
        return self._reasons.get(mailbox) or self._reasons.get(key) or ""


NOBODY = Suppression()


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings that apply to every row of one audience."""

    language: str = ""  # for rows without a language
    why: str = ""  # reason for the notice, for rows without a reason
    suppression: Suppression = NOBODY
    each_address: bool = False  # a person with two addresses is notified at both
    adult_years: int = 18
    today: date | None = None  # for ages; without a date, each row with a date of birth is held


@dataclass(frozen=True, kw_only=True)
class ReadRow:
    """A row that could be read."""

    number: int
    mailbox: str
    recipient: Recipient


def check_columns(names: Iterable[str]) -> None:
    """Raise ConfigurationError if an audience cannot have these columns."""
    names = list(names)
    if "address" not in names and POSTAL_COLUMNS[0] not in names:
        raise ConfigurationError(
            "audience: it has neither a column `address` nor `postal_1`. Name the column with the "
            "mail address, or the columns with the postal address."
        )
    if wrong := [name for name in names if not _COLUMN.fullmatch(name)]:
        raise ConfigurationError(
            f"audience: not valid as names of columns: {', '.join(wrong)[:200]}. Use lower-case "
            "letters, digits and _."
        )
    if len(set(names)) < len(names):
        raise ConfigurationError("audience: its query names a column twice. Rename one with AS.")


def postal_lines(values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the lines of a postal address, without the name."""
    return tuple(line for column in POSTAL_COLUMNS if (line := values.get(column, "")))


def read_row(number: int, row: Row, rules: Rules) -> ReadRow:
    """Return the parsed row; ValueError if it cannot notify anybody."""
    if isinstance(row, str):
        raise ValueError(row)
    address = _address(row)
    values = {name: _value(name, raw) for name, raw in row.items() if name != "address"}
    mailbox = _mailbox(address, values)
    why = values.get("why") or rules.why
    if not why:
        raise ValueError("neither the row nor the audience's `why` has a reason for the notice")
    spoken = values.get("language", "")
    return ReadRow(
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


def flagged_person(row: Row, rules: Rules) -> str:
    """Return the key of the person in a rejected row that has a flag, or ""."""
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
    """Return the mail address; None if it is invalid but a letter can be sent."""
    try:
        return parse_address(row.get("address", ""))
    except ValueError:
        lines = sum(bool(row.get(column, "").strip()) for column in POSTAL_COLUMNS)
        if lines >= 2:  # enough for a letter: a street and a town
            return None
        if lines:
            raise ValueError("there is no address, and the postal one is a single line") from None
        raise


def _mailbox(address: Address | None, values: Mapping[str, str]) -> str:
    """Return the key that all rows of one mailbox or postal address share."""
    if address:
        return address.key
    lines = (values.get("name", ""), *postal_lines(values))
    return f"post:{chr(10).join(lines).casefold()}"


def _key(written: str) -> str:
    """Return a key in NFC, so that both Unicode spellings of an accent match."""
    return unicodedata.normalize("NFC", one_line(written))


def _held(values: Mapping[str, str], rules: Rules) -> str:
    """Return the reason why a person must decide about this row, or ""."""
    for column, flag_name in (("is_deceased", DECEASED), ("is_minor", MINOR)):
        flag = values.get(column, "").casefold()
        if flag in _YES:
            return flag_name
        if flag not in _NO:
            return f"perhaps {flag_name}: column {column!r} says neither yes nor no"
    if values.get("died_on"):
        return DECEASED
    if born := values.get("born_on"):
        try:
            birth = date.fromisoformat(born[:10])
        except ValueError:
            return f"perhaps {MINOR}: column 'born_on' is not a date"
        if rules.today is None or _years(birth, rules.today) < rules.adult_years:
            return MINOR
    return ""


def _years(birth: date, today: date) -> int:
    """Return the age in full years.

    In other years, a person born on 29 February becomes one year older on 1 March.
    """
    has_had_birthday = (today.month, today.day) >= (birth.month, birth.day)
    return today.year - birth.year - (not has_had_birthday)


def _value(name: str, raw: str) -> str:
    if len(raw) > 4 * LONGEST_VALUE:  # reject it before each character is examined
        raise ValueError(f"column {name!r} is longer than {LONGEST_VALUE} characters")
    if not raw.isascii() and any("\ud800" <= character <= "\udfff" for character in raw):
        raise ValueError(f"column {name!r} is not UTF-8")
    value = one_line(raw)
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"column {name!r} is longer than {LONGEST_VALUE} characters")
    return value
