"""Forms for notices to authorities, filled as far as possible.

The notices are obligations: duties to notify somebody of an incident.

Rules
- This program submits no form. A person submits it and records the authority's receipt.
- Laws ask for the same information in different words. A topic, such as `cause`, stands for one
  piece of information. A text that people enter for a topic appears in every form that asks for it.
- A missing text is shown as a gap; nothing is guessed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from standfast.deadlines.incident_facts import FactKind, Facts
from standfast.deadlines.legal_clocks import Clock

# Topics of forms, each with its question to people, in reading order.
TOPICS: Final[Mapping[str, str]] = {
    "what_happened": "What happened, in plain words?",
    "dates": "When did it happen, when was it discovered, and when was it confirmed?",
    "data": "Which kinds of data are involved?",
    "cause": "What caused it, as far as is known? Is an unlawful act suspected?",
    "consequences": "What consequences may it have for the people concerned, and for the service?",
    "measures": "What was done, and what will be done, against it and for the people concerned?",
    "advice": "What can the people concerned do to protect themselves?",
    "help": "What help is offered to them, for how long, by whom?",
    "contact": "Who answers questions, by which telephone, mail or postal address?",
    "affected": "About how many people and records are affected?",
    "cross_border": "Does it affect other countries, and which?",
    "indicators": "Which indicators of compromise can be shared?",
    "cost": "What does it cost, as far as is known?",
    "law_enforcement": "Was it reported to law enforcement, and did they ask to wait?",
    "sample_notice": "Where is the copy of the notice that people get?",
}
# Regular expressions by topic. A requirement of a law asks for the topic if the expression matches.
_WORDS: Final[Mapping[str, str]] = {
    "what_happened": r"what happened|nature|description|circumstances|synopsis|written detail"
                     r"|incident details|the threat itself",
    "dates": r"\bdates?\b|date\(s\)|timing|when and how|how and when",
    "data": r"types? of|kinds of information|categories|information (?:involved|accessed)"
            r"|data acquired|items leaked|description of information",
    "cause": r"cause|method of compromise|how breach occurred|unlawful|findings on who|how and when"
             r"|when and how",
    "consequences": r"consequences|impact|severity|factors showing risk",
    "measures": r"measures taken|measures and (?:dates|advice)|numbers, measures|steps taken"
                r"|mitigat|is doing to|countermeasures|safeguards",
    "advice": r"individuals should|recipients can take|freeze|review statements|minimise harm"
              r"|recommended steps|protective steps|advice|FCRA",
    "help": r"credit monitoring|identity-theft services|services offered|remediation|remedies$",
    "contact": r"\bDPO\b|contact|help desk|CRA toll-free",
    "affected": r"number (?:affected|of)|approx\. number|numbers, measures|customers affected"
                r"|names of affected",
    "cross_border": r"cross-border|affected Member States",
    "indicators": r"indicators",
    "cost": r"loss|monetary|financial condition",
    "law_enforcement": r"law[- ]enforcement|police report",
    "sample_notice": r"sample|copy of notice|template of the notice",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Field:
    """One required part of a form."""

    requirement: str  # the words of the law
    topic: str  # topic of the requirement; if none matches, an id such as `OBLIGATION#2`
    question: str
    text: str = ""  # "" for a gap
    author: str = ""  # person that stated the text; "" for a text from the configuration

    @property
    def is_gap(self) -> bool:
        """Return whether the text is missing."""
        return not self.text


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of one obligation to notify an authority."""

    clock: Clock
    fields: tuple[Field, ...]

    @property
    def gaps(self) -> int:
        """The number of missing texts."""
        return sum(field.is_gap for field in self.fields)


def form_of(clock: Clock, facts: Facts, known: Mapping[str, str]) -> Form:
    """Return the form of an obligation, filled as far as possible.

    `known` contains texts from the configuration, by topic.
    """
    return Form(clock=clock, fields=tuple(_fields(clock, facts, known)))


def topics_of(requirement: str) -> tuple[str, ...]:
    """Return the topics that a requirement asks for; () if there is none."""
    return tuple(
        topic for topic, words in _WORDS.items() if re.search(words, requirement, re.IGNORECASE)
    )


def _fields(clock: Clock, facts: Facts, known: Mapping[str, str]) -> Iterator[Field]:
    obligation = clock.obligation
    counted = facts.latest(FactKind.AFFECTED, obligation.jurisdiction)
    for number, requirement in enumerate(obligation.content, 1):
        for topic in topics_of(requirement) or (f"{obligation.id}#{number}",):
            fact = facts.latest(FactKind.CONTENT, topic)
            text, author = known.get(topic, ""), ""
            if fact is not None:
                text, author = fact.reference, fact.author
            elif topic == "affected" and counted is not None:
                text, author = f"{counted.count:,} in {obligation.jurisdiction}", counted.author
            yield Field(
                requirement=requirement,
                topic=topic,
                question=TOPICS.get(topic, requirement),
                text=text,
                author=author,
            )
