"""Connector for directories that speak SCIM 2.0.

Identity providers with an interface of their own do not belong here.
"""

from standfast.adapters.accounts.scim.connector import ScimConnector

__all__ = ["ScimConnector"]
