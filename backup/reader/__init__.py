"""Reading of a recovery point: from references to verified content.

blob_reader     blobs: segments of a frame, decrypted, decoded and checked
frame_prefetch  threads that read frames ahead
manifest_walk   pages from the top, one path, one file
path_selection  selection of paths by patterns
path_search     search for paths in several points
manifest_diff   difference of two points
recovery_points listing of points, and lookup by name
history_forks   forks of a history, where "latest" is ambiguous
self_healing    blobs of lost packs, read from other points
"""
