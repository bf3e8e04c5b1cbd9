"""Readers of audiences: files, databases and SCIM directories.

Validation and deduplication of rows belong in `standfast.notices.audience`.
"""
