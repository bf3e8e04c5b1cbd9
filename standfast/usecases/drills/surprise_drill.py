"""Start of the surprise drills of `drills.schedule.surprise`.

A surprise drill is a test restore of a random service at a random time.

Rules
- Each window (period of the schedule) has one drill, at a random moment. `drill_by_surprise` is
  called every `LOOK_MINUTES` and runs the drill if the moment has come.
- A failed drill is not repeated. A drill that could not start, or whose process died, is started
  again in the same window.
"""

from datetime import timedelta

from standfast.continuity.run_schedule import last_due
from standfast.records import timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_host
from standfast.usecases.core.run_record import SURPRISE_SUBJECT
from standfast.usecases.drills.service_drill import ServiceDrillOutcome, drill_services
from standfast.usecases.drills.surprise_draw import Draw, draw_of_window

LOOK_MINUTES = 15


def drill_by_surprise(installation: Installation, way: str) -> ServiceDrillOutcome | None:
    """Run the drill of the current window if its moment has come.

    Return None if nothing is due.
    """
    schedule = installation.config.drills.schedule
    if schedule is None or schedule.surprise is None:
        return None
    now, zone = installation.clock(), installation.config.organisation.time_zone
    window = last_due(schedule.surprise.begins, zone, now)
    length = timedelta(hours=schedule.surprise.hours)
    if now >= window + length:
        return None
    # The latest possible moment is 2 * LOOK_MINUTES before the end of the window. Thus the drill
    # starts even if a call is late.
    drawn = draw_of_window(installation, window, length - 2 * timedelta(minutes=LOOK_MINUTES), way)
    if drawn.at is None or now < drawn.at or _has_ended(installation, drawn):
        return None
    return drill_services(installation, [drawn.service], None, way, drawn=drawn)


def _has_ended(installation: Installation, drawn: Draw) -> bool:
    window = timestamp(drawn.window) if drawn.window else None
    runs = installation.ledger.runs.all("drill", SURPRISE_SUBJECT)
    return any(
        (run.summary.get("surprise") or {}).get("window") == window
        for run in runs_of_host(installation.config, runs)
    )
