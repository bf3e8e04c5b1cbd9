"""Alarms: their recipients, their end, and their display in `status`.

The package that measures a value also detects the fault.
"""
