"""LDAP client: connections, sign-in, searches and changes.

The choice of the attribute that locks an account does not belong here.
"""
