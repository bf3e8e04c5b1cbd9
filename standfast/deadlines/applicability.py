"""Applicability of obligations: parties, thresholds, and their questions.

An obligation is a duty to notify somebody of an incident.

Rules
- The configuration states whether the organisation is a controller or a processor of personal data,
  and its sectors. An obligation of another sector is omitted.
- People enter the number of affected persons in each jurisdiction for each incident. While the
  number is unknown, the obligation applies, and a question asks for the number.
- Conditions such as "likely to result in a risk" are questions to a person. Until the person
  answers, the answer "yes" is assumed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from standfast.deadlines.obligations import Obligation


class Part(StrEnum):
    """The role of the organisation in the processing of personal data."""

    CONTROLLER = "controller"  # owner, licensee or fiduciary of the data
    PROCESSOR = "processor"  # vendor, business associate or provider of a client


class Sector(StrEnum):
    """The sectors that have special obligations."""

    BANK = "bank"
    BROKER = "broker"  # broker-dealer, adviser, fund, transfer agent
    CARDS = "cards"  # accepts payment cards, for itself or for a merchant
    CRITICAL = "critical"  # critical sectors of CIRCIA
    DFS = "dfs"  # licensed by New York's Department of Financial Services
    FINANCIAL = "financial"  # financial entities of DORA
    GOVERNMENT = "government"
    HEALTH = "health"
    LENDER = "lender"  # financial institutions other than banks (FTC Safeguards Rule)
    LISTED = "listed"  # files with the SEC
    NIS2 = "nis2"  # essential or important entity
    TELECOM = "telecom"


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The kind of organisations that an obligation binds."""

    parts: frozenset[Part]
    sector: Sector | None = None


def _bound(part: Part | None = None, sector: Sector | None = None) -> Bound:
    return Bound(parts=frozenset(Part) if part is None else frozenset({part}), sector=sector)


_C, _P = Part.CONTROLLER, Part.PROCESSOR
OBLIGATED_PARTIES: Final[Mapping[str, Bound]] = {
    "controller": _bound(_C),
    "owner/licensee of the data": _bound(_C),
    "organization in control of the data": _bound(_C),
    "enterprise": _bound(_C),
    "organisation": _bound(_C),
    "business operator": _bound(_C),
    "data fiduciary": _bound(_C),
    "APP entity": _bound(),
    "service provider, intermediary, data centre, body corporate, government": _bound(),
    "processor": _bound(_P),
    "third-party agent": _bound(_P),
    "business that maintains data it does not own": _bound(_P),
    "vendor": _bound(_P),
    "service provider (by contract)": _bound(_P, Sector.BROKER),
    "business associate": _bound(_P, Sector.HEALTH),
    "bank service provider": _bound(_P, Sector.BANK),
    "covered entity": _bound(_C, Sector.HEALTH),
    "licensed health facility": _bound(_C, Sector.HEALTH),
    "bank": _bound(_C, Sector.BANK),
    "banking organization": _bound(_C, Sector.BANK),
    "broker-dealer, adviser, fund, transfer agent": _bound(_C, Sector.BROKER),
    "non-bank financial institution": _bound(_C, Sector.LENDER),
    "financial entity": _bound(None, Sector.FINANCIAL),
    "DFS covered entity": _bound(None, Sector.DFS),
    "public company (domestic registrant)": _bound(None, Sector.LISTED),
    "covered entity in 16 critical sectors": _bound(None, Sector.CRITICAL),
    "essential or important entity": _bound(None, Sector.NIS2),
    "public electronic communications service provider": _bound(None, Sector.TELECOM),
    "telecom carrier / interconnected VoIP": _bound(None, Sector.TELECOM),
    "merchant": _bound(None, Sector.CARDS),
    "merchant / service provider": _bound(None, Sector.CARDS),
    "state or municipal agency": _bound(_C, Sector.GOVERNMENT),
}


def binds(obligation: Obligation, parts: frozenset[Part], sectors: frozenset[Sector]) -> bool:
    """Return whether an obligation may apply; ValueError for an unknown party."""
    bound = OBLIGATED_PARTIES.get(obligation.obligated_party)
    if bound is None:
        raise ValueError(
            f"{obligation.id}: the obligated party {obligation.obligated_party!r} is unknown"
        )
    return bool(bound.parts & parts) and (bound.sector is None or bound.sector in sectors)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The number of people, or the kind of incident, that requires a notice.

    `least` and `most` are the bounds of the number of people, both inclusive. `question` asks a
    person whether the incident is of this kind. It is "" if only the number of people decides. If
    there are bounds and a question, the answer "yes" requires a notice for any number of people.
    """

    least: int | None = None
    most: int | None = None
    question: str = ""

    @property
    def has_number(self) -> bool:
        """Return whether the number of people matters."""
        return self.least is not None or self.most is not None

    def admits(self, count: int) -> bool:
        """Return whether a number of people is within the bounds."""
        return (self.least or 0) <= count and (self.most is None or count <= self.most)


_NUMBER = re.compile(
    r"(?P<bound>more than |at least |fewer than |)(?P<number>[\d,]+)(?P<more> or more|) \w+"
)
_OTHERWISE = re.compile(r", or any number with (?P<kind>.+)$")


def threshold_of(obligation: Obligation) -> Threshold:
    """Return the threshold; if sources state two numbers, the stricter one."""
    text = obligation.threshold
    if not text:
        return Threshold()
    if text.startswith("any resident"):
        return Threshold(least=1)
    found = _NUMBER.match(text)
    if found is None or not (found["bound"] or found["more"]):
        return Threshold(question=f"Is this so: {text}?")
    number = int(found["number"].replace(",", ""))
    otherwise = _OTHERWISE.search(text)
    question = f"Is there {otherwise['kind']}?" if otherwise else ""
    if found["bound"] == "fewer than ":
        return Threshold(most=number - 1, question=question)
    sooner = re.search(r"one source: (?:at least |)([\d,]+)", text)
    if sooner:
        return Threshold(least=int(sooner[1].replace(",", "")), question=question)
    return Threshold(least=number + (found["bound"] == "more than "), question=question)
