"""Commands on the state of the installation, and on its readiness.

Pages for auditors are in `reports`.
"""
