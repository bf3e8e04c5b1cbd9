"""Commands of the owner and of custodians on keys.

The owner is the person with the offline signing key of the backups; a custodian can decrypt
backups. Commands on recovery points are in `backups`.
"""
