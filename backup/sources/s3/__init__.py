"""S3 bucket source and its sorted listing.

The S3 store of a vault belongs in `stores.s3`.
"""
