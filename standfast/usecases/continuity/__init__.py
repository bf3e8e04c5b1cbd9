"""Continuity: practice that people attest.

Recovery itself is in `recovery`, its tests are in `drills`.
"""
