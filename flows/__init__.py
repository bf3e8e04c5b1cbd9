"""Prefect flows, one per use-case; the only code that imports Prefect.

Prefect schedules, runs and shows the nightly work. Decisions, results and proofs are in the ledger
(the database of the installation), and nothing here is needed to contain a breach.

Rules
- The parameters of a flow are the path of the configuration, and names or ids that the ledger has;
  nothing secret or personal.
- A flow returns a state with a line of ids and counts, or with an error message of Standfast. It
  never raises, because Prefect stores parameters, logs and exceptions in clear.
- Prefect persists no result, retries no change of an account or other target, and pauses no run. To
  resume an incident, its flow is run again.
- `serve` and its parts work without Prefect; they import Prefect only where they need it.
"""
