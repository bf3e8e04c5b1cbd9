"""Continuity: services, their calendar of practice, and attestations.

Recovery itself is in `recovery`; tests of recovery are in `drills`.
"""
