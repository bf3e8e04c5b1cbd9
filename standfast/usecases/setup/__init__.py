"""Setup and opening of an installation with its adapter factory.

Trying out what was set up is in `health`.
"""
