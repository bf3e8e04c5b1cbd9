"""S3 store: client, version listing and locks.

Reading a bucket as a backup source belongs in `sources.s3`.
"""
