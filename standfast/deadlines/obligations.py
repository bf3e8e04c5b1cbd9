"""One duty as the data says it, and the reading of `obligations.jsonl`.

Rules
- A line with an unknown key, a missing one or a word that is not ours is refused with its number:
  a duty that is half understood is worse than none.
- The law's own words for when a clock starts, whom it binds and from how many people on are kept as
  text here; `starts` and `scope` say what each of them means to the program.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar


class Kind(StrEnum):
    """What kind of limit it is."""

    HARD = "hard"  # a number of hours, days or months
    SOFT = "soft"  # "without undue delay": no number, so now
    RELATIVE = "relative"  # not later than another notice
    BEFORE = "before"  # another notice may not go before this one
    NOT_BEFORE = "not_before"  # a hold: sending earlier is the violation
    ON_REQUEST = "on_request"  # once an authority asks


class Unit(StrEnum):
    """In what a limit is counted."""

    HOURS = "hours"
    CALENDAR_DAYS = "calendar_days"
    BUSINESS_DAYS = "business_days"
    MONTHS = "months"


class Status(StrEnum):
    """Is it law yet?"""

    IN_FORCE = "in_force"
    PROPOSED = "proposed"
    CHECK_COMMENCEMENT = "check_commencement"
    ADOPTED = "adopted_effective_date_unconfirmed"


class Confidence(StrEnum):
    """How sure the reading of the sources is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Recipient(StrEnum):
    """Who is to be told."""

    INDIVIDUALS = "individuals"
    AUTHORITY = "authority"
    ATTORNEY_GENERAL = "attorney_general"
    CREDIT_BUREAUS = "credit_bureaus"
    CONTROLLER = "controller"
    CSIRT = "csirt"
    CARD_SCHEME = "card_scheme"
    CUSTOMERS = "customers"
    MEDIA = "media"
    PUBLIC = "public"
    INTERNAL = "internal"


AGREEMENT: Final = "contract:"  # begins the jurisdiction of a client's agreement


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How long, counted from what."""

    kind: Kind
    value: int | None = None  # with `unit`; None for a limit without a number
    unit: Unit | None = None
    start: str  # the law's words for what the count begins with
    also: str = ""  # what binds beside the number: "without undue delay"


@dataclass(frozen=True, kw_only=True)
class Obligation:
    """One duty to tell somebody, with where it is written and how sure that is."""

    id: str
    jurisdiction: str
    instrument: str
    section: str
    duty_holder: str
    recipient: Recipient
    recipient_name: str
    clock_start: str
    threshold: str = ""  # from how many people on; empty for any number
    risk_test: str = ""  # the question about harm that decides it; empty for none
    limit: Limit
    series: str = ""  # the duties that are phases of one
    phase: str = ""
    delay: str = ""  # what may delay or extend it
    content: tuple[str, ...] = ()  # what the notice must hold
    channels: str = ""
    status: Status
    effective_from: str = ""
    notes: str = ""
    citation: str
    sources: tuple[str, ...]
    read_on: str  # YYYY-MM-DD
    confidence: Confidence

    @property
    def is_agreement(self) -> bool:
        """Does a client's agreement say it, and no law? It binds whoever signed."""
        return self.jurisdiction.startswith(AGREEMENT)

    @property
    def yields_to_law_enforcement(self) -> bool:
        """Does the rule itself let law enforcement put it off?"""
        return "law enforcement" in self.delay.replace("-", " ")

    @property
    def may_be_delayed(self) -> bool:
        """Does law enforcement's letter do it, with nobody judging that? A hold it lengthens."""
        return self.yields_to_law_enforcement or self.limit.kind is Kind.NOT_BEFORE

    @property
    def is_law(self) -> bool:
        """Does it bind today, as far as the sources say?"""
        return self.status is Status.IN_FORCE


def is_same_notice(one: Obligation, other: Obligation) -> bool:
    """Tell whether two limits bind one notice: phases `1a` and `1b` of a series, say."""
    return (
        bool(one.series)
        and one.series == other.series
        and one.phase[:1].isdigit()
        and one.phase[:1] == other.phase[:1]
        and one.phase[1:2].isalpha()
        and other.phase[1:2].isalpha()
    )


_KEYS = frozenset(
    {
        "id", "jurisdiction", "instrument", "section", "duty_holder", "recipient", "trigger",
        "deadline", "series", "phase", "delay_or_extension", "content_required", "channels",
        "status", "effective_from", "notes", "citation", "verified_from", "read_on", "confidence",
    }
)  # fmt: skip
_RECIPIENT_KEYS = frozenset({"class", "name"})
_TRIGGER_KEYS = frozenset({"clock_start", "threshold", "risk_test"})
_DEADLINE_KEYS = frozenset({"kind", "value", "unit", "from", "also"})
_Word = TypeVar("_Word", bound=StrEnum)


def read(lines: Iterable[str]) -> tuple[Obligation, ...]:
    """Read the lines of the data, in order. Raises ValueError with the number of a bad one."""
    return tuple(_read(lines))


def _read(lines: Iterable[str]) -> Iterator[Obligation]:
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            obligation = _obligation(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"obligation in line {number}: {error}") from error
        if obligation.id in seen:
            raise ValueError(f"obligation in line {number}: {obligation.id} is there twice")
        seen.add(obligation.id)
        yield obligation


def _obligation(row: Mapping[str, Any]) -> Obligation:
    _exactly(row, _KEYS)
    recipient, trigger, deadline = row["recipient"], row["trigger"], row["deadline"]
    _exactly(recipient, _RECIPIENT_KEYS)
    _exactly(trigger, _TRIGGER_KEYS)
    # Whether it counts from another notice shows in its start, too: `starts` knows which.
    _exactly({k: v for k, v in deadline.items() if k != "relative_to_other_notice"}, _DEADLINE_KEYS)
    return Obligation(
        id=row["id"],
        jurisdiction=row["jurisdiction"],
        instrument=row["instrument"],
        section=row["section"],
        duty_holder=row["duty_holder"],
        recipient=_word(Recipient, recipient["class"]),
        recipient_name=recipient["name"],
        clock_start=trigger["clock_start"],
        threshold=trigger["threshold"] or "",
        risk_test=trigger["risk_test"] or "",
        limit=_limit(deadline),
        series=row["series"] or "",
        phase=row["phase"] or "",
        delay=row["delay_or_extension"] or "",
        content=tuple(row["content_required"]),
        channels=row["channels"] or "",
        status=_word(Status, row["status"]),
        effective_from=row["effective_from"] or "",
        notes=row["notes"] or "",
        citation=row["citation"],
        sources=tuple(row["verified_from"]),
        read_on=row["read_on"],
        confidence=_word(Confidence, row["confidence"]),
    )


def _limit(row: Mapping[str, Any]) -> Limit:
    value, unit = row["value"], row["unit"]
    if (value is None) != (unit is None):
        raise ValueError("a limit has a value and a unit, or neither")
    kind = _word(Kind, row["kind"])
    if kind in (Kind.HARD, Kind.NOT_BEFORE) and not (isinstance(value, int) and value > 0):
        raise ValueError(f"a {kind} limit needs a positive number")
    return Limit(
        kind=kind,
        value=value,
        unit=None if unit is None else _word(Unit, unit),
        start=row["from"],
        also=row["also"] or "",
    )


def _word(words: type[_Word], text: str) -> _Word:
    try:
        return words(text)
    except ValueError:
        raise ValueError(f"{text!r} is none of {', '.join(words)}") from None


def _exactly(row: Mapping[str, Any], keys: frozenset[str]) -> None:
    if wrong := row.keys() ^ keys:
        raise ValueError(f"unknown or missing keys: {', '.join(sorted(wrong))}")
