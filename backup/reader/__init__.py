"""Reader: list, search and compare recovery points; read their content.

    for entry in walk(reader, body, Selection(["documents/**"])):
        content = b"".join(content_of(reader, entry))

  blob_reader      blobs: read, decrypted, decoded and verified
  frame_prefetch   threads that read compressed frames in advance
  manifest_walk    manifest pages from the top; finds a path or folder; content of a file
  path_selection   selection of paths by patterns
  path_search      search for paths in several recovery points
  manifest_diff    difference of two recovery points
  recovery_points  list of recovery points; lookup of a recovery point by its name
  self_healing     blobs of lost or damaged packs, read from other packs

Writing files belongs in `backup.restorer`.
"""
