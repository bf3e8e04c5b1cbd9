"""Continuity: services, the calendar of practice, and attestations.

Recovery is in `recovery`; tests of recovery are in `drills`.
"""
