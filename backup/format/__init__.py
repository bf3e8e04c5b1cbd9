"""Format 1 (FORMAT.md): bytes to records and back, without I/O.

    snapshot, sealed = snapshot_from_bytes(data, "the name of the object")
    body = open_body(sealed, identities, "the name of the object")

  canonical_json    JSON, times, printable paths; strict_fields checks fields of parsed JSON
  object_names      names of objects in the store; record_link: links between records
  signature         signatures of records: root_record, keep_record and snapshot are signed
  pack              the encrypted container; frame: a compressed part of it
  manifest          decodes manifest pages; manifest_encoding encodes them
  age_header        number of keys that open an age file

A parser raises only `Damaged` or `FormatUnknown`, with the name of the object.
"""

FORMAT = 1
