"""Checklist of a contact centre: measured, attested, risk, open, failed.

Auditors of contact centres ask for the points of the checklist. An attestation is a person's signed
statement that a point is fulfilled.

Rules
- A point of the checklist is `measured` only if the checks of the program cover the whole point and
  find no fault.
- If a check finds a fault, the point is not `attested`, even if a person stated the contrary.
- If the checks cover only a part of a point, a valid attestation can cover the rest. The point is
  then `attested`, never `measured`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from standfast.config.sections.continuity import CHECKLIST
from standfast.records import JsonObject
from standfast.usecases.continuity.attestations import Attestation
from standfast.usecases.health import recency_checks
from standfast.usecases.health.check_results import Check, Verdict


class PointState(StrEnum):
    """The states of a point of the checklist, best first."""

    MEASURED = "measured"
    ATTESTED = "attested"
    RISK = "risk"
    OPEN = "open"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """The parts of one point that the program checks itself."""

    parts: tuple[str, ...] = ()  # names of the checks
    always: str = ""  # a property of the program, which needs no check
    is_whole: bool = False  # the checks cover the whole point


_MEASURES: Mapping[str, _Measure] = {
    "encryption": _Measure(always="backups and personal data in the ledger are encrypted"),
    "leavers": _Measure(parts=(recency_checks.LEAVERS,), is_whole=True),
    "masking": _Measure(parts=(recency_checks.LOGS,)),
    "stored-data": _Measure(parts=(recency_checks.LOGS,)),
    "backups": _Measure(parts=("backup sets", recency_checks.RECOVERY_POINTS), is_whole=True),
    "mfa": _Measure(parts=(recency_checks.FACTORS,), is_whole=True),
    "recovery": _Measure(parts=(recency_checks.DRILLS,), is_whole=True),
}


@dataclass(frozen=True, kw_only=True)
class ChecklistRow:
    """One point: the results of the checks, and the newest attestation."""

    point: str
    checks: tuple[Check, ...]
    attestation: Attestation | None
    today: date

    @property
    def title(self) -> str:
        return CHECKLIST[self.point]

    @property
    def state(self) -> PointState:
        if any(check.verdict is Verdict.FAIL for check in self.checks):
            return PointState.FAILED
        gaps = [check for check in self.checks if check.verdict is Verdict.WARN]
        if any(not check.is_lacking and not check.is_unmeasured for check in gaps):
            return PointState.RISK
        if self._measure.is_whole and self.checks and not gaps:
            return PointState.MEASURED
        return PointState.ATTESTED if self._is_attested else PointState.OPEN

    @property
    def measured(self) -> str:
        """The most serious result of the checks, in words."""
        results = [check.found for check in self._deciding]
        more = f", and {len(results) - 1} more" if len(results) > 1 else ""
        return f"{results[0]}{more}" if results else self._measure.always or "nothing"

    @property
    def attested(self) -> str:
        """The newest attestation, in words."""
        found = self.attestation
        if found is None:
            return "by nobody"
        ended = "until" if self._is_attested else "expired on"
        return f"by {found.person} on {found.done_on}, {ended} {found.valid_until}"

    @property
    def what_to_do(self) -> str:
        """The action that improves this point, or "" if none is needed."""
        if self.state in (PointState.MEASURED, PointState.ATTESTED):
            return ""
        gaps = [check.what_to_do for check in self._deciding if check.verdict is not Verdict.OK]
        attest = f"`standfast continuity attest {self.point} --as PERSON --file FILE`"
        return gaps[0] if gaps else attest

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        found = self.attestation
        return {
            "point": self.point,
            "title": self.title,
            "state": self.state.value,
            "measured": self.measured,
            "attestation": found.as_json(self.today) if found else None,
            "what_to_do": self.what_to_do,
        }

    @property
    def _deciding(self) -> tuple[Check, ...]:
        """The failures; without failures, the warnings; otherwise all results."""
        for verdict in (Verdict.FAIL, Verdict.WARN):
            if found := tuple(check for check in self.checks if check.verdict is verdict):
                return found
        return self.checks

    @property
    def _measure(self) -> _Measure:
        return _MEASURES.get(self.point, _Measure())

    @property
    def _is_attested(self) -> bool:
        return self.attestation is not None and self.attestation.is_valid(self.today)


def checklist(
    checks: Iterable[Check], attestations: Mapping[str, Attestation], today: date
) -> Iterator[ChecklistRow]:
    """Yield the row of each point, in the order of `CHECKLIST`."""
    found = tuple(checks)
    for point in CHECKLIST:
        parts = _MEASURES.get(point, _Measure()).parts
        yield ChecklistRow(
            point=point,
            checks=tuple(check for check in found if check.part in parts),
            attestation=attestations.get(point),
            today=today,
        )
