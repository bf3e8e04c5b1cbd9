"""What a check says about one part of a place, and what it stands on to find out.

Rules
- A warning is a risk that one may take (the vault lies on this disk); a failure is something that
  would not work tonight. Each says what to do.
- What nobody set up is a warning, too, since a place may be for backups alone; it is marked, since
  it answers no question with a yes.
- No account, address or secret is named.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from standfast.adapters.factory import Outside
from standfast.config import Config
from standfast.errors import ExitStatus
from standfast.ledger import Ledger
from standfast.records import JsonObject, Now
from standfast.secrets import Resolver


class Verdict(StrEnum):
    """How one part stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One part that was tried."""

    part: str
    verdict: Verdict
    found: str
    what_to_do: str = ""
    is_damage: bool = False
    is_lacking: bool = False  # nobody set it up

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            "part": self.part,
            "verdict": self.verdict.value,
            "found": self.found,
            "what_to_do": self.what_to_do,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every part, in the order in which they were tried."""

    checks: tuple[Check, ...]

    def count(self, verdict: Verdict) -> int:
        """How many parts stand like this."""
        return sum(check.verdict is verdict for check in self.checks)

    @property
    def exit_status(self) -> ExitStatus:
        """DONE with warnings, too; USAGE when a part fails, DAMAGED when something is damaged."""
        if any(check.is_damage for check in self.checks):
            return ExitStatus.DAMAGED
        return ExitStatus.USAGE if self.count(Verdict.FAIL) else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Give all of it for `--json`."""
        return {
            "checks": [check.as_json() for check in self.checks],
            **{verdict.value: self.count(verdict) for verdict in Verdict},
        }


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What the checks stand on; `ledger` is None when it could not be opened."""

    config: Config
    resolver: Resolver
    clock: Now
    ledger: Ledger | None
    outside: Outside  # reads only


Look = Callable[[Ground], Iterator[Check]]


def ok(part: str, found: str) -> Check:
    """A part that would work tonight."""
    return Check(part=part, verdict=Verdict.OK, found=found)


def warn(part: str, found: str, what_to_do: str) -> Check:
    """A part with a risk that one may take."""
    return Check(part=part, verdict=Verdict.WARN, found=found, what_to_do=what_to_do)


def lacking(part: str, found: str, what_to_do: str) -> Check:
    """A part that nobody set up."""
    return Check(
        part=part, verdict=Verdict.WARN, found=found, what_to_do=what_to_do, is_lacking=True
    )


def fail(part: str, found: str, what_to_do: str = "") -> Check:
    """A part that would not work tonight."""
    return Check(part=part, verdict=Verdict.FAIL, found=found, what_to_do=what_to_do)
