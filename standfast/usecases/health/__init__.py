"""Installation checks, readiness, status and the watchdog.

These modules repair nothing. Each finding names what a person can do.
"""
