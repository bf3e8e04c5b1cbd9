"""Score of the readiness: measured, attested and open rows."""

from dataclasses import replace
from datetime import date

from standfast.config.sections.continuity import CHECKLIST
from standfast.reports.readiness_page import NOT_READY, READY, RISK
from standfast.usecases.health.checklist import checklist
from standfast.usecases.health.readiness import QUESTIONS
from standfast.usecases.health.readiness_score import score_rows, total
from tests.usecases.health.test_checklist import ATTESTED

TODAY = date(2026, 12, 1)


def test_points_and_gains_add_up_to_hundred() -> None:
    rows = score_rows(dict.fromkeys(QUESTIONS, RISK), checklist((), {}, TODAY))
    assert sum(row.points + row.gain for row in rows) == 100
    assert [row.gain for row in rows] == sorted((row.gain for row in rows), reverse=True)


def test_attested_points_count_less_than_measured() -> None:
    attested = {point: replace(ATTESTED, subject=point) for point in CHECKLIST}
    rows = score_rows(dict.fromkeys(QUESTIONS, READY), checklist((), attested, TODAY))
    ready = total(row for row in rows if row.name in QUESTIONS)
    assert ready < total(rows) < 100
    nothing = score_rows(dict.fromkeys(QUESTIONS, NOT_READY), checklist((), {}, TODAY))
    assert total(nothing) == 0
