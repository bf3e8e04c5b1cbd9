"""What reading a recovery point is made of: from references to verified content.

blob_reader   one frame's segments, decrypted and unpacked; `fetching` does so ahead, in threads
looking       pages from the top, one path, one file; `searching`, `comparing`, `selection`
branches      where a history forks, so that nobody knows which point is the latest
healing       a blob whose pack is lost, taken from where else it lies
"""
