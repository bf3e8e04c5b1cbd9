"""Setup and opening of an installation with its adapter factory.

Checks of an installation are in `health`.
"""
