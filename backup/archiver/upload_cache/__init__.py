"""Upload cache: local SQLite record of what is already in the vault.

  cache             packs and blobs that the vault has; commits
  stored_runs       pages of earlier runs, for the parent snapshot
  history_state     this host's newest snapshot, and the newest records that it saw
  blob_index        sorted runs of blob locations; id_filter avoids most lookups
  database          the SQLite file; page_encoding and cache_records are its values

No restore needs it; losing it costs only uploads. Its file is named in the setting `send_log`, and
FORMAT.md calls it the send-log.
"""
