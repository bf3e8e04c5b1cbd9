"""Installation checks, readiness, status and the watchdog.

Nothing here repairs anything: each finding names a command.
"""
