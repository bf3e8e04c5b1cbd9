"""Alarms: their recipients, their end, and their form in `status`.

The domain that measures a fault also detects it.
"""
