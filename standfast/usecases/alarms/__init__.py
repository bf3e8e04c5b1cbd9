"""Alarms: their recipients, their end, and their display in `status`.

A fault is detected by the package that measures the value, such as `backups` or `health`.
"""
