"""Enrolled people, their passkeys, staff lists and leavers.

An enrolled person has a passphrase or passkey and may approve steps of incidents. The decisions of
enrolled people are in the package `approvals`.
"""
