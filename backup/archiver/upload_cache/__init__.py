"""Upload cache: local SQLite record of what is already in the vault.

  cache             packs and blobs that the vault has; commits
  stored_runs       pages of earlier runs, for the parent snapshot
  history_state     this host's newest snapshot, and the newest records that it saw
  blob_index        sorted runs of blob locations; id_filter avoids most lookups
  database          the SQLite file; page_encoding and cache_records: the values in it

No restore needs the upload cache; losing it costs only uploads. The setting `send_log` names its
file, and FORMAT.md calls it the send-log.
"""
