"""Commands that list, verify and export sealed evidence.

The audit chain is in `reports`.
"""
