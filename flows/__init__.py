"""Prefect flows, one per use-case; the only code that imports Prefect.

Prefect schedules, runs and shows the nightly work. Decisions, results and proofs are in the ledger
(the database of the installation). The response to a breach also works without this package.

Rules
- The parameters of a flow are the path of the configuration, and names or ids that the ledger
  contains. No parameter is secret or personal.
- A flow returns a state with a line of ids and counts, or with an error message of Standfast. It
  never raises an exception, because Prefect would store the exception's text in clear.
- Prefect does not persist results, does not retry changes of accounts or other targets, and does
  not pause runs. To resume an incident, its flow is run again.
- `standfast serve` and its parts (`serve_*.py`, `roles.py`) work without Prefect, and import
  Prefect only if they use it.
"""
