"""Starts of legal clocks: facts that people state, and earlier notices.

A legal clock is the running deadline of an obligation: a duty to notify somebody of an incident.
A fact starts it: a dated statement of a person, such as the time of awareness. This module
maps the words of a law, as `obligations.jsonl` quotes them, to the facts that start the clock. An
unknown phrase raises an error, because the clock would otherwise be omitted unnoticed.

Rules
- If a law names two events joined by "or", or if its sources disagree, the earlier event starts the
  clock.
- If a law names two events joined by "and", the later event starts the clock, and both times must
  be known.
- Some clocks start when another notice was given. The record of that notice has the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from standfast.deadlines.obligations import Obligation, Recipient

# Facts that start clocks, each with its question to people.
QUESTIONS: Final[Mapping[str, str]] = {
    "occurrence": "When did the incident happen?",
    "detection": "When did a person or a system first notice it?",
    "suspicion": "When were there first reasonable grounds to suspect it?",
    "notification": "When did somebody outside (a client, a supplier, a customer) tell you of it?",
    "awareness": "When was it reasonably certain that personal data was affected?",
    "discovery": "On which day was it first known, or would have been with reasonable care?",
    "reasonable_belief": "When was there reason to believe that a notifiable breach occurred?",
    "classification": "When was it classified as major?",
    "determination": "When was it determined that a breach occurred?",
    "materiality": "When was it determined to be material for investors?",
    "confirmation": "When was the breach confirmed?",
    "contents": "When was it known what a notice must say?",
    "scope": "When was its scope identified?",
    "assessment": "When was it assessed to be notifiable?",
    "statement": "When was the statement to the authority ready?",
    "investigation_concluded": "When did the investigation end?",
    "payment": "When was a ransom paid?",
    "authority_request": "When did the authority ask for it?",
}


@dataclass(frozen=True, kw_only=True)
class Start:
    """The facts and notices that start a clock.

    `facts` are keys of `QUESTIONS`, and `notices` are ids of obligations. With `needs_all`, the
    latest of their times starts the clock, and all times must be known. Otherwise the earliest
    known time starts it. With `from_year_end`, the clock starts at the end of that year.
    """

    facts: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    needs_all: bool = False
    from_year_end: bool = False


def _any(*facts: str) -> Start:
    return Start(facts=facts)


def _all(*facts: str) -> Start:
    return Start(facts=facts, needs_all=True)


def _after(*notices: str) -> Start:
    return Start(notices=notices)


# Maps an obligation to a fact. If this fact is dated after the obligation's limit, that limit
# does not apply, and another one applies instead. Source: DORA, Art. 19, and Delegated Regulation
# (EU) 2025/301, Art. 5, for an incident that is classified as major only after the first 24 hours.
OUTER_LIMITS: Final[Mapping[str, str]] = {"eu-dora-19-initial-backstop": "classification"}

_PEOPLE_NOTIFIED: Final = Start()  # replaced by the jurisdiction's notices to affected people

# Maps the words of the law (key `from` of an obligation) to the facts that start the clock.
_STARTS: Final[Mapping[str, Start]] = {
    "awareness": _any("awareness"),
    "awareness of a significant incident": _any("awareness"),
    "awareness of the incident": _any("awareness"),
    "learning of the acquisition": _any("awareness"),
    "knowledge": _any("awareness"),
    "awareness and scope identified": _all("awareness", "scope"),
    "discovery": _any("discovery"),
    "discovery or notification": _any("discovery", "notification"),
    "discovery or reason to believe": _any("discovery", "reasonable_belief"),
    "end of calendar year": Start(facts=("discovery",), from_year_end=True),
    "detection": _any("detection"),
    "detection of unlawful access": _any("detection"),
    "noticing": _any("detection", "notification"),
    "suspicion": _any("suspicion"),
    "suspicion or confirmation": _any("suspicion", "confirmation"),
    "event": _any("suspicion", "confirmation"),
    "incident": _any("occurrence"),
    "belief": _any("reasonable_belief"),
    "reasonable belief": _any("reasonable_belief"),
    "determination": _any("determination"),
    "reasonable determination": _any("determination"),
    "determination (not later than the 60th day after)": _any("determination"),
    "determination or reason to believe": _any("determination", "reasonable_belief"),
    "materiality determination": _any("materiality"),
    "classification as major": _any("classification"),
    "confirmation and contents ascertainable": _all("confirmation", "contents"),
    "conclusion of investigation": _any("investigation_concluded"),
    "assessment": _any("assessment"),
    "statement prepared": _any("statement"),
    "payment": _any("payment"),
    "extortion payment": _any("payment"),
    "request of CSIRT/authority": _any("authority_request"),
    "submission of phase 2": _after("eu-nis2-23-notification"),
    "submission of the initial notification": _after(
        "eu-dora-19-initial-classification", "eu-dora-19-initial-backstop"
    ),
    "submission of the intermediate or last updated intermediate report": _after(
        "eu-dora-19-intermediate"
    ),
    "notification to USSS and FBI": _after(
        "us-fcc-2011-2007-authority", "us-fcc-2011-2024-authority"
    ),
    "communication": _after("br-anpd"),
    "notice": _PEOPLE_NOTIFIED,
    "notice to residents": _PEOPLE_NOTIFIED,
    "not later than notice to residents": _PEOPLE_NOTIFIED,
    "BEFORE notice to residents": _PEOPLE_NOTIFIED,
    "notifying affected consumers": _PEOPLE_NOTIFIED,
    "giving notice to consumers": _PEOPLE_NOTIFIED,
    "distribution of notice to citizens (must be RECEIVED)": _PEOPLE_NOTIFIED,
    "discovery or consumer notice, whichever is sooner": _any("discovery"),
}

# Starts by the obligation's `clock_start`, for obligations where the key `from` is not sufficient.
_BY_TRIGGER: Final[Mapping[str, Start]] = {
    # The statute and the authority disagree.
    "determination (AG site: discovery)": _any("determination", "discovery"),
    "determination (or notice from third-party agent)": _any("determination", "notification"),
    "discovery/awareness of unauthorised access": _any("awareness", "discovery"),
}
_ALSO_PEOPLE_NOTIFIED: Final = frozenset({"discovery or consumer notice, whichever is sooner"})


def start_of(obligation: Obligation, all_of_them: Mapping[str, Obligation]) -> Start:
    """Return the start of an obligation's clock.

    Raise ValueError if the words of the law or a notice that starts the clock are unknown.
    """
    words = obligation.limit.start
    start = _BY_TRIGGER.get(obligation.clock_start) or _STARTS.get(words)
    if start is None and words in QUESTIONS:
        start = _any(words)  # the contract of a client names a fact directly
    if start is None:
        raise ValueError(f"{obligation.id}: unknown start {words!r}")
    if start is _PEOPLE_NOTIFIED or words in _ALSO_PEOPLE_NOTIFIED:
        notices = people_notices(obligation.jurisdiction, all_of_them)
        return Start(facts=start.facts, notices=notices)
    missing = [notice for notice in start.notices if notice not in all_of_them]
    if missing:
        raise ValueError(f"{obligation.id}: starts with unknown notices {', '.join(missing)}")
    return start


def people_notices(jurisdiction: str, all_of_them: Mapping[str, Obligation]) -> tuple[str, ...]:
    """Return the ids of a jurisdiction's notices to the people concerned.

    If no obligation requires such notices, return `people:JURISDICTION`, such as `people:US-IA`.
    """
    return tuple(
        other.id
        for other in all_of_them.values()
        if other.jurisdiction == jurisdiction and other.recipient is Recipient.INDIVIDUALS
    ) or (f"people:{jurisdiction}",)
