"""Response in this process: by its flow, or without a Prefect server.

A response executes the steps of one incident.

Rules
- The Prefect server is queried for at most half a second. If it does not answer, the response runs
  without Prefect.
- Prefect may die after it answered and before the flow begins. A flow that has not begun its work
  in time is abandoned permanently, and the response runs without Prefect. A `ResponseClaim` decides
  once whether the flow or its caller does the work, so that never both do.
- After the work, the caller does not wait for the report to Prefect, which may hang for over a
  minute.
- The ledger (the database of the installation) records how the work ran: `prefect` or `serve`.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flows import flow_calls
from flows.response_claim import ResponseClaim, calling_flow

BEGINS_WITHIN_SECONDS = 1.0


def run_response(
    config: Path,
    incident: str,
    *,
    is_prefect_available: Callable[[], bool],
    without_prefect: Callable[[], object],
    begins_within_seconds: float = BEGINS_WITHIN_SECONDS,
) -> str:
    """Run the response flow in this process, or call `without_prefect`.

    Return "prefect" or "serve". The function must not run twice at the same time for one incident.
    Errors of the response are raised only if it runs without Prefect; the error of a flow is in
    Prefect and in the ledger.
    """
    if is_prefect_available():
        claim = ResponseClaim()
        thread = threading.Thread(
            target=_call, args=(config, incident, claim), name=f"flow-{incident}", daemon=True
        )
        thread.start()
        if claim.belongs_to_flow(begins_within_seconds):
            claim.wait()
            return "prefect"
    without_prefect()
    return "serve"


def _call(config: Path, incident: str, claim: ResponseClaim) -> None:
    try:
        # After any error of Prefect, `claim` shows that no work has begun.
        with suppress(Exception), calling_flow(claim):
            flow_calls.respond(config, incident)
    finally:
        claim.end()
