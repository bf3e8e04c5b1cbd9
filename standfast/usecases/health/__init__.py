"""Installation checks, readiness, status and the watchdog.

These modules repair nothing: each finding names a command.
"""
