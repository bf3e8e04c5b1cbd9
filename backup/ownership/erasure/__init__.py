"""Erasure of a domain: order, attestation and certificate.

A domain is a group of backup sets that share one key and are erased together. The order is signed
by the owner; an attestation is the consent of a custodian, a person that can decrypt the backups.

Ordinary changes of domains belong in `ownership.operations`.
"""
