"""Erasure of a domain: order, attestation and certificate.

Ordinary changes of domains belong in `ownership.operations`.
"""
