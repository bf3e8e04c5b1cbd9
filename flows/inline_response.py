"""Calling the response's flow in this process, warm, and never waiting for Prefect.

Rules
- Prefect is asked first, for half a second; when it does not answer, the operation runs without.
- Prefect may die between that answer and the flow's first line: a flow that has not begun its work
  in time is given up for good, and the operation runs without it. Which of the two does the work is
  settled once (`engagement`), so it is never both.
- When the work has ended, nobody waits for Prefect to be told: that may hang for over a minute.
- The ledger's runner row says which way it was: `prefect` or `serve`.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flows import flow_calls
from flows.response_claim import Engagement, called

BEGINS_WITHIN_SECONDS = 1.0


def carry_on(
    config: Path,
    incident: str,
    *,
    is_prefect_there: Callable[[], bool],
    without_prefect: Callable[[], object],
    begins_within_seconds: float = BEGINS_WITHIN_SECONDS,
) -> str:
    """Run the response's flow here and give its way, `prefect`; else do the work and give `serve`.

    One call an incident at a time. What the operation raises is raised here only in the second
    case; the flow's failure stands in Prefect, and in the ledger.
    """
    if is_prefect_there():
        engagement = Engagement()
        thread = threading.Thread(
            target=_call, args=(config, incident, engagement), name=f"flow-{incident}", daemon=True
        )
        thread.start()
        if engagement.is_flows(begins_within_seconds):
            engagement.wait()
            return "prefect"
    without_prefect()
    return "serve"


def _call(config: Path, incident: str, engagement: Engagement) -> None:
    try:
        # Whatever Prefect raises, the caller finds no work begun.
        with suppress(Exception), called(engagement):
            flow_calls.respond(config, incident)
    finally:
        engagement.end()
