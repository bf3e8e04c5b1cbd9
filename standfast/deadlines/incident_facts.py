"""What is known of an incident, each with who said it and when.

Rules
- A fact is never changed: a later one of the same subject replaces it, and the earlier one stays in
  view, since a deadline that moved is the first thing an authority asks about.
- A subject is a kind and a name: the kind says what the name is of.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from standfast.deadlines.clock_starts import QUESTIONS


class FactKind(StrEnum):
    """What a fact is about, and what its `name` names."""

    TIME = "time"  # something happened `at`; name: one of `QUESTIONS`
    AFFECTED = "affected"  # `count` people; name: a jurisdiction
    ANSWER = "answer"  # `is_so` owed; name: an obligation, whose risk test was judged
    THRESHOLD = "threshold"  # `is_so`; name: an obligation, whose kind of incident was judged
    TOLD = "told"  # the recipient was told `at`; name: an obligation, reference: the receipt;
    # without `at` and not `is_so`: it was not, after all, and the reference says why
    DELAY = "delay"  # law enforcement asked to wait until `at`, open when None; name: an obligation
    # or a jurisdiction, reference: the document; `is_so`: somebody holds that it does, though the
    # rule itself knows no such delay; not `is_so`: they did not ask, after all
    CONTENT = "content"  # what a notice says; name: a topic of `forms`, reference: the text


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that somebody stated."""

    kind: FactKind
    name: str
    at: datetime | None = None
    count: int | None = None
    is_so: bool | None = None
    reference: str = ""  # a document, a receipt's number, a reason
    author: str
    recorded_at: datetime

    def __post_init__(self) -> None:
        held = {
            FactKind.TIME: self.at,
            FactKind.TOLD: self.at if self.is_so is not False else self.is_so,
            FactKind.AFFECTED: self.count,
            FactKind.ANSWER: self.is_so,
            FactKind.THRESHOLD: self.is_so,
        }
        if self.kind in held and held[self.kind] is None:
            raise ValueError(f"a fact of kind {self.kind} lacks what it states")
        if self.kind is FactKind.TIME and self.name not in QUESTIONS:
            raise ValueError(f"no clock starts with {self.name!r}; known: {', '.join(QUESTIONS)}")
        if self.kind is FactKind.CONTENT and not self.reference:
            raise ValueError("what a notice says needs its text")
        if self.kind is FactKind.DELAY and not self.reference:
            raise ValueError("a delay needs the document in which law enforcement asked for it")
        if self.count is not None and self.count < 0:
            raise ValueError("a number of people is not negative")
        for moment in (self.at, self.recorded_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("a time without a zone is refused")


class Facts:
    """The facts of one incident, in the order in which they were stated."""

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._facts: tuple[Fact, ...] = tuple(facts)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._facts)

    def latest(self, kind: FactKind, name: str) -> Fact | None:
        """Give what is held for true now."""
        return next(iter(reversed(self.all_of(kind, name))), None)

    def all_of(self, kind: FactKind, name: str) -> Sequence[Fact]:
        """Give everything that was stated of a subject, the latest last."""
        return [fact for fact in self._facts if fact.kind is kind and fact.name == name]

    def as_before(self, fact: Fact) -> "Facts":
        """Give the facts as they were before one of them was stated."""
        return Facts(self._facts[: self._facts.index(fact)])

    def until(self, fact: Fact) -> "Facts":
        """Give the facts up to one of them, which is the last."""
        return Facts(self._facts[: self._facts.index(fact) + 1])
