"""Time of the last progress of steps that other steps wait for.

Rules
- A running step is queried only if a step that has not begun names it in `after`. This avoids a
  query over all effects of a notice to 100,000 people, because no step waits for such a notice.
- A step makes progress when one of its effects (such as the lock of one account) is done. A call
  without an answer does not count as progress, and neither does a refusal.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, select

from standfast.ledger.schema.tables import attempt, effect
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.model import Playbook
from standfast.records import StepState


def last_progress_at(
    connection: Connection, playbook: Playbook, begun: Sequence[RowMapping]
) -> dict[str, datetime]:
    """Return when each running step that another step waits for made progress.

    This is the time of the last progress, or of the start before any progress. `begun` are the rows
    of all begun steps of one incident.
    """
    names = {row["name"] for row in begun}
    before = {
        name for waiting in playbook.steps if waiting.name not in names for name in waiting.after
    }
    running = [row for row in begun if row["state"] == StepState.RUNNING and row["name"] in before]
    if not running:
        return {}
    statement = (
        select(effect.c.step, func.max(attempt.c.ended_at))
        .join(attempt, attempt.c.token == effect.c.attempt)
        .where(
            effect.c.incident == running[0]["incident"],
            effect.c.state == "done",
            effect.c.verb != PAGE,
            effect.c.step.in_({row["name"] for row in running}),
        )
        .group_by(effect.c.step)
    )
    done = {name: at for name, at in connection.execute(statement) if at is not None}
    found: dict[str, datetime] = {}
    for row in running:
        since = (row["started_at"], row["runs_from"], done.get(row["name"]))
        found[row["name"]] = max(at for at in since if at is not None)
    return found
