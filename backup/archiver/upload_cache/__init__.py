"""Upload cache: local SQLite record of what is already in the vault.

  cache             packs and blobs that the vault has; commits
  stored_runs       pages of earlier runs, for the parent snapshot
  history_state     newest snapshot of this host, and newest signed records that it has seen
  blob_index        sorted runs of blob locations; id_filter avoids most lookups
  database          the SQLite file; page_encoding and cache_records: the values in it

A restore does not need the upload cache. If it is lost, the next run sends all content again. The
setting `send_log` names its file, and FORMAT.md calls it the send-log.
"""
