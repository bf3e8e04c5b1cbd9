"""Opened installation, its backup repository and its run records.

Behaviour of one domain does not belong here.
"""
