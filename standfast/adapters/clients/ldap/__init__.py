"""LDAP client: connections, sign-in, searches and changes.

Which attribute locks an account does not belong here.
"""
