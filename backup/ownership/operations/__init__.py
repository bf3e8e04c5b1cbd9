"""Owner operations on writers, domains, custodians and keepers.

The owner, the person with the offline signing key, signs each operation. A writer is a backup host,
a custodian a person that can decrypt backups, a keeper a machine that may expire backups. A domain
is a group of backup sets that share one key.

Erasure of a domain belongs in `ownership.erasure`.
"""
