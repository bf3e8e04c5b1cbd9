"""The upload cache: local SQLite record of chunks in the vault.

Nothing here is needed for a restore; losing it costs only uploads.
"""
