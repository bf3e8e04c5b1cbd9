"""Owner operations, custodians, key records and the recovery card.

The cryptography is in `backup/ownership`.
"""
