"""Installation checks, readiness, status and the watchdog.

A check repairs nothing: each of its findings names what a person can do. Only the watchdog acts.
"""
