"""Owner operations on writers, domains, custodians and keepers.

Erasing a domain belongs in `ownership.erasure`.
"""
