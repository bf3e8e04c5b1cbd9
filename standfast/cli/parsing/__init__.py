"""Command declarations, argument parsing and help text.

Printing and configuration do not belong here; `terminal` has them.
"""
