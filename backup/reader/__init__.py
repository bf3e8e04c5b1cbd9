"""Reader: from references to verified content of a recovery point.

    for entry in walk(reader, body, Selection(["documents/**"])):
        content = b"".join(content_of(reader, entry))

  blob_reader      blobs: read, decrypted, decoded and verified
  frame_prefetch   threads that read frames ahead
  manifest_walk    pages from the top; one path; one file
  path_selection   selection of paths by patterns
  path_search      search for paths in several recovery points
  manifest_diff    difference of two recovery points
  recovery_points  listing of recovery points, and lookup by name
  history_forks    forks of a writer's history, because of which "latest" is ambiguous
  self_healing     blobs of lost packs, read through other recovery points

Writing files belongs in `backup.restorer`.
"""
