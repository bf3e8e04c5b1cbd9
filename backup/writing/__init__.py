"""What a run of the writer is made of: from found paths to packs in the store and one snapshot.

taking        each path becomes a row, read anew or known from an `earlier` run; `entries`
apart         a first backup's files are found and read by a process of their own
chunks        where content is cut; `blobs` keeps each piece once; `tape` cuts packs; `buffers`
pages         the manifest, level by level; `places` says where things lie
send_log      what this host has stored: its file, its kept pages, its `place_index`, its records
admission     whether this host may write; `avoidance` what a new point is not built on
commit        the signed snapshot, and what a collision of two means
"""
