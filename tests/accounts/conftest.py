"""The fixtures of the scripted SCIM directory, for the modules that try the connector on it."""

from tests.accounts.scripted_scim import connector, directory

__all__ = ["connector", "directory"]
