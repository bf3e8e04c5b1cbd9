"""Owner operations, custodians, key records and the recovery card.

The owner signs changes of the people and machines with keys. Custodians can decrypt backups. Key
records are the keys of the backups, encrypted to the custodians. The recovery card is a printed
page for a restore. The cryptography is in `backup/ownership`.
"""
