"""Recorded readiness scores: the last of each day; changes between them.

Each row of a score is one question about the readiness, such as whether backups are recent. The
score is the sum of the points of its rows.

Rules
- A score is stored as an audit event of the ledger (the installation's database), with the points
  of each row. A score is stored if it is the first of its day, or if it differs from the last one
  of the day. The last score of a day is the score of this day.
- An event that was forged or changed in the database is ignored here. `audit verify` reports it.
- A day is a day in the organisation's time zone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from standfast.errors import StandfastError
from standfast.records import JsonObject
from standfast.usecases.continuity.attestations import today_of
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.readiness_score import ScoreRow

_SUBJECT, _SCORED = "readiness", "readiness.scored"


@dataclass(frozen=True, kw_only=True)
class RecordedScore:
    """The last score of a day."""

    day: date
    points: Mapping[str, int]  # points of each row

    @property
    def score(self) -> int:
        """The score, from 0 to 100."""
        return sum(self.points.values())


def recorded_scores(installation: Installation) -> tuple[RecordedScore, ...]:
    """Return the recorded scores, oldest first."""
    days: dict[date, RecordedScore] = {}
    for event in installation.ledger.audit.sealed_timeline(_SUBJECT)[0]:
        day = date.fromisoformat(event.detail["day"])
        days[day] = RecordedScore(day=day, points=event.detail["points"])
    return tuple(days[day] for day in sorted(days))


def has_score_of_today(installation: Installation) -> bool:
    """Return whether a score of today is recorded."""
    return _score_of(installation, today_of(installation)) is not None


def record_score(installation: Installation, rows: Iterable[ScoreRow]) -> str:
    """Record the score if it differs from today's last score.

    Return the error if the score cannot be recorded, else "".
    """
    points = {row.name: row.points for row in rows}
    today = today_of(installation)
    try:
        last = _score_of(installation, today)
        if last is None or last.points != points:
            detail: JsonObject = {"day": today.isoformat(), "points": {**points}}
            installation.record_event(_SUBJECT, _SCORED, detail)
    except StandfastError as error:
        return str(error)
    return ""


def _score_of(installation: Installation, day: date) -> RecordedScore | None:
    return next((score for score in recorded_scores(installation) if score.day == day), None)


def changed_rows(rows: Iterable[ScoreRow], before: Mapping[str, int]) -> dict[str, int]:
    """Return the points that each row gained or lost, the greatest loss first."""
    now = {row.name: row.points for row in rows}
    names = {**before, **now}
    changes = {name: now.get(name, 0) - before.get(name, 0) for name in names}
    return {
        name: points
        for name, points in sorted(changes.items(), key=lambda change: change[1])
        if points
    }
