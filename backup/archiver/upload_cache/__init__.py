"""Upload cache: local SQLite record of what is already in the vault.

No restore needs it; losing it costs only uploads. Its file is named in the setting `send_log`, and
FORMAT.md calls it the send-log.
"""
