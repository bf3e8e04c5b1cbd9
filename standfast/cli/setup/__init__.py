"""Commands that create, demonstrate and serve an installation.

Checks of an installation that exists are in `health`.
"""
