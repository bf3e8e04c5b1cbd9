"""Upload cache: local SQLite record of what is already in the vault.

  cache             packs and blobs that the vault has; commits
  stored_runs       manifest pages of earlier runs, with which the next run compares
  history_state     newest snapshot of this host, and newest signed records that it has seen
  blob_index        sorted tables of blob locations; id_filter avoids most lookups
  database          the SQLite file; page_encoding and cache_records: the values in it

The vault is the folder or bucket with the encrypted backups. A restore does not need the upload
cache. If the cache is lost, the next run sends all content again. The setting `send_log` names its
file, and FORMAT.md calls it the send-log.
"""
