"""Installation checks, readiness, status and the watchdog.

Repairs do not belong here: each finding names a command.
"""
