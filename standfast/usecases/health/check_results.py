"""Results of the installation check: verdicts, and its exit status.

Rules
- A warning is an acceptable risk, such as backups on the disk of this machine. A failure is a part
  that would not work now. Each warning and each failure names an action.
- A part that is not set up is a warning, because an installation may be only for backups. The flag
  `is_lacking` marks such a result, and the command `readiness` then answers "No".
- No result names an account, an address or a secret.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from standfast.adapters.factory import Adapters
from standfast.config import Config
from standfast.errors import ExitStatus
from standfast.ledger import Ledger
from standfast.records import JsonObject, Now
from standfast.secrets import Resolver


class Verdict(StrEnum):
    """The verdict on one part of an installation."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result for one part of an installation."""

    part: str
    verdict: Verdict
    found: str
    what_to_do: str = ""
    is_damage: bool = False
    is_lacking: bool = False  # the part is not set up
    is_unmeasured: bool = False  # this program cannot measure the part here

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "part": self.part,
            "verdict": self.verdict.value,
            "found": self.found,
            "what_to_do": self.what_to_do,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """All results, in the order of the checks."""

    checks: tuple[Check, ...]

    def count(self, verdict: Verdict) -> int:
        """Return the number of parts with this verdict."""
        return sum(check.verdict is verdict for check in self.checks)

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED for damage, USAGE for a failure, DONE for warnings only."""
        if any(check.is_damage for check in self.checks):
            return ExitStatus.DAMAGED
        return ExitStatus.USAGE if self.count(Verdict.FAIL) else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "checks": [check.as_json() for check in self.checks],
            **{verdict.value: self.count(verdict) for verdict in Verdict},
        }


@dataclass(frozen=True, kw_only=True)
class CheckInputs:
    """The inputs of the checks; `ledger` is None if it could not be opened."""

    config: Config
    resolver: Resolver
    clock: Now
    ledger: Ledger | None
    adapters: Adapters  # adapters that only read


CheckFunction = Callable[[CheckInputs], Iterator[Check]]


def ok(part: str, found: str) -> Check:
    """Return the result of a part that works."""
    return Check(part=part, verdict=Verdict.OK, found=found)


def warn(part: str, found: str, what_to_do: str) -> Check:
    """Return the result of a part with an acceptable risk."""
    return Check(part=part, verdict=Verdict.WARN, found=found, what_to_do=what_to_do)


def unmeasured(part: str, found: str, what_to_do: str) -> Check:
    """Return the result of a part that this program cannot measure here."""
    return replace(warn(part, found, what_to_do), is_unmeasured=True)


def lacking(part: str, found: str, what_to_do: str) -> Check:
    """Return the result of a part that is not set up."""
    return Check(
        part=part, verdict=Verdict.WARN, found=found, what_to_do=what_to_do, is_lacking=True
    )


def fail(part: str, found: str, what_to_do: str = "") -> Check:
    """Return the result of a part that would not work now."""
    return Check(part=part, verdict=Verdict.FAIL, found=found, what_to_do=what_to_do)
