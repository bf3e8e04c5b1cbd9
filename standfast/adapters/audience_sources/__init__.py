"""Readers of audiences: files, databases and SCIM directories.

    csv_audience(Path("customers.csv"), {"address": "email", "key": "id"})   # an Audience

An audience is the list of recipients of a notice (a message to the people that an incident
concerns). Validation and deduplication of rows belong in `standfast.notices.audience`.
"""
