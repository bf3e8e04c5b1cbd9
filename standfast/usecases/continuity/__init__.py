"""Continuity: services, the calendar of practice, and attestations.

A service is something that the organisation offers, with its objectives of recovery. An attestation
is a signed statement of a person that work was done. Recovery is in the package `recovery`; tests
of recovery are in `drills`.
"""
