"""Planned effects, claims, attempts and unknown outcomes.

The order of steps is in `incidents`. Calls to adapters do not belong in the ledger.
"""
