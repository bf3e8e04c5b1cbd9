"""Prefect flows, each a wrapper over one operation; the only code that imports Prefect.

Prefect schedules the nights, runs and shows them. What was decided, done and proven stands in the
ledger, and nothing here is needed to contain a breach.

Rules
- A flow takes the configuration's path and names or ids of the ledger; nothing secret or personal.
- What leaves a flow is a state with a line of ids and counts, or with a sentence of ours, and never
  an exception: Prefect stores parameters, logs and exceptions in clear.
- No results are persisted, no effects retried, no run paused: to resume is to run again.
- `serve` and its parts work while Prefect does not; they import it where they need it.
"""
