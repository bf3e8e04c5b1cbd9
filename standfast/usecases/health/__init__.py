"""Installation checks, readiness, status and the watchdog.

A check changes nothing: each finding names an action for a person. Only the watchdog acts itself.
"""
