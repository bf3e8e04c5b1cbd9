"""Alarms about faults: recipients, end of alarms, display in `status`.

The packages that measure the values detect the faults: for example, `backups` and `health`.
"""
