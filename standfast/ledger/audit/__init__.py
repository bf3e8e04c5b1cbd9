"""Audited transactions, the hash chain and its verification.

Rules about incidents, effects or approvals do not belong here.
"""
