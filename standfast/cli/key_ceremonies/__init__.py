"""Commands of the owner and of custodians on keys.

Commands on recovery points are in `backups`.
"""
