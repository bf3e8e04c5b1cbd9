"""What a run of the writer is made of: from found paths to packs in the store and one snapshot.

taking        each path becomes a row, read anew or known from an `earlier` run; `entries`, `linked`
apart         a first backup's files are found and read by a `second_process`; `surveying`: on later
              nights one looks ahead
chunks        where content is cut; `blobs` keeps each piece once; `tape` packs, in `pack_memory`
pages         the manifest, level by level; `places` says where things lie
send_log      what this host has stored: `send_log_file`, `kept_pages`, `place_index`, `seen_ids`,
              and as records what is `logged`
admission     whether this host may write; `avoidance` what a new point is not built on
commit        the signed snapshot, and what a collision of two means; `passed_over`
"""
