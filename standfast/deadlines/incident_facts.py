"""Facts of an incident for the rules: kinds; the latest statement counts.

A fact is a dated statement of a person, such as the time of awareness. Facts start and end legal
clocks: the running deadlines of obligations (duties to notify somebody).

Rules
- The subject of a fact is its kind and its name. The kind defines what the name refers to.
- A fact is never changed. A later fact with the same subject replaces it, but the earlier fact
  stays visible, because authorities ask why a deadline was changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from standfast.deadlines.clock_starts import QUESTIONS


class FactKind(StrEnum):
    """The kind of a fact, which defines the meaning of its `name`."""

    TIME = "time"  # an event happened `at`; name: one of `QUESTIONS`
    AFFECTED = "affected"  # `count` people; name: a jurisdiction
    ANSWER = "answer"  # `is_so`: by its risk test, a person judged that obligation `name` is owed
    THRESHOLD = "threshold"  # `is_so`: a person judged that the threshold of `name` is reached
    # The recipient of the obligation `name` was notified `at`; reference: the receipt. Without `at`
    # and with `is_so` False, the statement is withdrawn; reference: the reason.
    NOTIFIED = "notified"
    # Law enforcement asked to wait until `at`, or without an end if `at` is None; name: an
    # obligation or a jurisdiction, reference: the document. With `is_so` True, a person states that
    # the delay applies although the law allows none. With `is_so` False, the delay is withdrawn.
    DELAY = "delay"
    CONTENT = "content"  # the text of a notice; name: a topic of forms, reference: the text

    @classmethod
    def _missing_(cls, value: object) -> "FactKind | None":
        """Accept the former value of `notified`, which older ledgers contain."""
        return cls.NOTIFIED if value == "told" else None


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One statement about an incident."""

    kind: FactKind
    name: str
    at: datetime | None = None
    count: int | None = None
    is_so: bool | None = None
    reference: str = ""  # a document, a receipt's number, a reason
    author: str
    recorded_at: datetime

    def __post_init__(self) -> None:
        required = {
            FactKind.TIME: self.at,
            FactKind.NOTIFIED: self.at if self.is_so is not False else self.is_so,
            FactKind.AFFECTED: self.count,
            FactKind.ANSWER: self.is_so,
            FactKind.THRESHOLD: self.is_so,
        }
        if self.kind in required and required[self.kind] is None:
            raise ValueError(f"a fact of kind {self.kind} lacks its value")
        if self.kind is FactKind.TIME and self.name not in QUESTIONS:
            raise ValueError(f"start {self.name!r}: unknown; known: {', '.join(QUESTIONS)}")
        if self.kind is FactKind.CONTENT and not self.reference:
            raise ValueError("the text of a notice is missing")
        if self.kind is FactKind.DELAY and not self.reference:
            raise ValueError("a delay needs the document of law enforcement")
        if self.count is not None and self.count < 0:
            raise ValueError("the number of people is negative")
        for moment in (self.at, self.recorded_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("a time has no zone")


class Facts:
    """The facts of one incident, in the order in which people stated them."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._facts: tuple[Fact, ...] = tuple(facts)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._facts)

    def latest(self, kind: FactKind, name: str) -> Fact | None:
        """Return the newest fact of a kind and name; None if there is none."""
        return next(iter(reversed(self.all_of(kind, name))), None)

    def all_of(self, kind: FactKind, name: str) -> Sequence[Fact]:
        """Return all facts of a kind and name, the newest last."""
        return [fact for fact in self._facts if fact.kind is kind and fact.name == name]

    def facts_before(self, fact: Fact) -> "Facts":
        """Return the facts that were stated before a fact."""
        return Facts(self._facts[: self._facts.index(fact)])

    def facts_through(self, fact: Fact) -> "Facts":
        """Return the facts up to and including one of them."""
        return Facts(self._facts[: self._facts.index(fact) + 1])
