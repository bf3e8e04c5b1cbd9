"""Replication of a vault to a second site, without any key.

Copies of key records belong in `ownership`.
"""
