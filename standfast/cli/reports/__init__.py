"""Commands that write reports, and verify and export the audit chain.

The current state is in `health`; evidence is in `evidence`.
"""
