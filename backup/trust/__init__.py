"""Trust: verified record chains and key files of a repository.

  root_chain          root records: which writers, domains and keepers are trusted
  retention_log       keep records: what expired, was marked, dropped or distrusted
  snapshot_slots      snapshot objects of a writer; snapshot_history judges them as a whole
  key_files           keys of hosts and custodians, and domain keys

Parsing belongs in `format`, changing records in `ownership` and `retention`.
"""
