"""Planned effects, claims, attempts and unknown outcomes.

An effect is one change of one target outside Standfast, such as one locked account. A claim
reserves an effect for one process. The order in which steps run is in the package `incidents`.
Calls to adapters do not belong in the ledger (the database).
"""
