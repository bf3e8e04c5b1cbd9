"""Obligations: records, and the strict reader of `obligations.jsonl`.

An obligation is a duty to notify somebody of an incident, with its sources.

Rules
- A line with an unknown key, a missing key or an unknown word raises an error with the number of
  the line. If an obligation were read only in part, its due date could be wrong.
- The words of the law about starts, obligated parties and thresholds are stored as text.
  `clock_starts` and `applicability` interpret this text.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar


class Kind(StrEnum):
    """The kind of a time limit."""

    HARD = "hard"  # a number of hours, days or months
    SOFT = "soft"  # "without undue delay": due at once
    RELATIVE = "relative"  # not later than another notice
    BEFORE = "before"  # this notice must precede another notice
    NOT_BEFORE = "not_before"  # a hold: a notice before the end of the period violates the law
    ON_REQUEST = "on_request"  # due when an authority requests it


class Unit(StrEnum):
    """The unit of a limit."""

    HOURS = "hours"
    CALENDAR_DAYS = "calendar_days"
    BUSINESS_DAYS = "business_days"
    MONTHS = "months"


class Status(StrEnum):
    """The legal status of an obligation."""

    IN_FORCE = "in_force"
    PROPOSED = "proposed"
    CHECK_COMMENCEMENT = "check_commencement"
    ADOPTED = "adopted_effective_date_unconfirmed"


class Confidence(StrEnum):
    """The confidence in the reading of the sources."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Recipient(StrEnum):
    """The recipient of a notification."""

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


AGREEMENT: Final = "contract:"  # prefix of the jurisdiction of a client's contract


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The length of a period, and the words for its start."""

    kind: Kind
    value: int | None = None  # length in `unit`; None for a limit without a number
    unit: Unit | None = None
    start: str  # the words of the law for the start of the period
    also: str = ""  # an additional limit in the words of the law, such as "without undue delay"


@dataclass(frozen=True, kw_only=True)
class Obligation:
    """One duty to notify somebody, with citation and confidence."""

    id: str
    jurisdiction: str
    instrument: str
    section: str
    obligated_party: str
    recipient: Recipient
    recipient_name: str
    clock_start: str
    threshold: str = ""  # the number of people that requires a notice, in words; "" for any number
    risk_test: str = ""  # the condition of harm that requires a notice; "" for none
    limit: Limit
    series: str = ""  # common name of several notices that belong together, such as first and final
    phase: str = ""  # the position in the series, such as "2"; `1a` and `1b` are one notice
    delay: str = ""  # the possible delays or extensions
    content: tuple[str, ...] = ()  # the required content of the notice
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
        """Return whether a client's contract imposes the duty, and not a law."""
        return self.jurisdiction.startswith(AGREEMENT)

    @property
    def yields_to_law_enforcement(self) -> bool:
        """Return whether the rule allows law enforcement to delay the notice."""
        return "law enforcement" in self.delay.replace("-", " ")

    @property
    def may_be_delayed(self) -> bool:
        """Return whether law enforcement can delay the notice.

        The rule of the law allows the delay, or the limit is a hold, which a delay extends.
        """
        return self.yields_to_law_enforcement or self.limit.kind is Kind.NOT_BEFORE

    @property
    def is_law(self) -> bool:
        """Return whether the obligation is in force, according to its sources."""
        return self.status is Status.IN_FORCE


def is_same_notice(first: Obligation, second: Obligation) -> bool:
    """Return whether one notice meets both limits, as in phases `1a` and `1b`."""
    return (
        bool(first.series)
        and first.series == second.series
        and first.phase[:1].isdigit()
        and first.phase[:1] == second.phase[:1]
        and first.phase[1:2].isalpha()
        and second.phase[1:2].isalpha()
    )


_KEYS = frozenset(
    {
        "id", "jurisdiction", "instrument", "section", "obligated_party", "recipient", "trigger",
        "deadline", "series", "phase", "delay_or_extension", "content_required", "channels",
        "status", "effective_from", "notes", "citation", "verified_from", "read_on", "confidence",
    }
)  # fmt: skip
_RECIPIENT_KEYS = frozenset({"class", "name"})
_TRIGGER_KEYS = frozenset({"clock_start", "threshold", "risk_test"})
_DEADLINE_KEYS = frozenset({"kind", "value", "unit", "from", "also"})
_Word = TypeVar("_Word", bound=StrEnum)


def read(lines: Iterable[str]) -> tuple[Obligation, ...]:
    """Parse the lines of `obligations.jsonl`; ValueError names a bad line."""
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
            raise ValueError(f"obligation in line {number}: {obligation.id} is repeated")
        seen.add(obligation.id)
        yield obligation


def _obligation(row: Mapping[str, Any]) -> Obligation:
    _exactly(row, _KEYS)
    recipient, trigger, deadline = row["recipient"], row["trigger"], row["deadline"]
    _exactly(recipient, _RECIPIENT_KEYS)
    _exactly(trigger, _TRIGGER_KEYS)
    # `clock_starts` defines which starts are other notices.
    _exactly({k: v for k, v in deadline.items() if k != "relative_to_other_notice"}, _DEADLINE_KEYS)
    return Obligation(
        id=row["id"],
        jurisdiction=row["jurisdiction"],
        instrument=row["instrument"],
        section=row["section"],
        obligated_party=row["obligated_party"],
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
        raise ValueError(f"{text!r}: not one of {', '.join(words)}") from None


def _exactly(row: Mapping[str, Any], keys: frozenset[str]) -> None:
    if wrong := row.keys() ^ keys:
        raise ValueError(f"unknown or missing keys: {', '.join(sorted(wrong))}")
