"""Commands that list, verify and export frozen evidence.

The audit chain is in `reports`.
"""
