"""Commands that list, verify and export sealed evidence.

A seal is a signature over the list of the collected files.
The audit chain is in `reports`.
"""
