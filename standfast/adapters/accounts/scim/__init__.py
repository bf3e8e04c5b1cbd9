"""Connector for directories that speak SCIM 2.0.

Identity providers with an interface of their own do not belong here.
"""
