"""Readers of audiences: files, databases and SCIM directories.

    csv_audience(Path("customers.csv"), {"address": "email", "key": "id"})   # an Audience

Validation and deduplication of rows belong in `standfast.notices.audience`.
"""
