"""Commands on the state of the installation.

Pages for auditors are in `reports`.
"""
