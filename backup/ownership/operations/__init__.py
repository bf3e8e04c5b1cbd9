"""Owner operations on writers, domains, custodians and keepers.

Erasure of a domain belongs in `ownership.erasure`.
"""
