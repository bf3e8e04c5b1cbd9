"""Score of the readiness, from 0 to 100, and the gain of each row.

Rules
- The rows are the questions of `readiness` and the points of the auditors' checklist. Their weights
  add up to 100. One fault can reduce the score of both a question and a point of the checklist.
- The state of a row decides the share of its weight that it adds to the score. A row that is ready
  or measured adds all. An attested row adds three quarters, because a person's signed statement
  proves less than a measurement. A risk adds one half. A failed, open or missing row adds nothing.
  Each row is rounded down.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from standfast.records import JsonObject
from standfast.reports.readiness_page import NOT_READY, NOT_THERE, READY, RISK
from standfast.usecases.health.checklist import ChecklistRow, PointState

_QUESTION_WEIGHT = 5
_POINT_WEIGHT = 3
# These points have the greatest weight, because they most often decide how a breach ends.
_MAIN_POINTS = frozenset({"encryption", "access", "leavers", "backups", "mfa", "recovery"})
_MAIN_POINT_WEIGHT = 6

_PERCENT: Mapping[str, int] = {
    READY: 100,
    PointState.MEASURED: 100,
    PointState.ATTESTED: 75,
    RISK: 50,
    PointState.RISK: 50,
    NOT_THERE: 0,
    NOT_READY: 0,
    PointState.OPEN: 0,
    PointState.FAILED: 0,
}


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One row of the score."""

    name: str
    weight: int
    state: str  # a key of `_PERCENT`

    @property
    def points(self) -> int:
        """The points that the row adds to the score now."""
        return self.weight * _PERCENT[self.state] // 100

    @property
    def gain(self) -> int:
        """The additional points of the row if all its faults were corrected."""
        return self.weight - self.points

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "row": self.name,
            "weight": self.weight,
            "state": self.state,
            "points": self.points,
            "gain": self.gain,
        }


def score_rows(
    questions: Mapping[str, str], checklist: Iterable[ChecklistRow]
) -> tuple[ScoreRow, ...]:
    """Return all rows, the greatest gain first.

    `questions` maps each question to its worst state.
    """
    rows = [
        ScoreRow(name=question, weight=_QUESTION_WEIGHT, state=state)
        for question, state in questions.items()
    ]
    for point in checklist:
        weight = _MAIN_POINT_WEIGHT if point.point in _MAIN_POINTS else _POINT_WEIGHT
        rows.append(ScoreRow(name=point.point, weight=weight, state=point.state.value))
    return tuple(sorted(rows, key=lambda row: -row.gain))


def total(rows: Iterable[ScoreRow]) -> int:
    """Return the score: the sum of the points of all rows."""
    return sum(row.points for row in rows)
