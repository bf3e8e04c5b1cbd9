"""Chunk sizes, chosen by the name of a file.

- A chunk is a piece of a file. If a file changes, only the changed chunks are stored again.
- In databases and dumps, many small parts change. With small chunks, few unchanged bytes are stored
  again. In other files, few parts change. With large chunks, a file needs few references to chunks.
- Recordings and pictures are written once and never edited. They are cut every 4 MiB, without a
  search for chunk boundaries.
"""

SMALL_FILE_BYTES = 64 * 1024  # a smaller file is stored as one chunk
EDITED_CHUNK_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024
MAX_CHUNK_BYTES = 4 * CHUNK_BYTES
MEDIA_CHUNK_BYTES = MAX_CHUNK_BYTES  # exact; the other sizes are averages

_EDITED_SUFFIXES = (
    b".db", b".sqlite", b".sqlite3", b".db3", b".mdb", b".ibd", b".frm", b".dbf", b".sql", b".dump",
    b".csv", b".tsv", b".json", b".jsonl", b".xml", b".log", b".txt", b".mbox", b".pst", b".vmdk",
    b".qcow2", b".vdi", b".raw", b".img",
)  # fmt: skip

_MEDIA_SUFFIXES = (
    b".wav", b".mp3", b".opus", b".ogg", b".oga", b".m4a", b".aac", b".amr", b".flac", b".gsm",
    b".mp4", b".m4v", b".mkv", b".webm", b".mov", b".avi", b".jpg", b".jpeg", b".png", b".heic",
)  # fmt: skip


def choose_chunk_bytes(name: bytes) -> int:
    """Return the average chunk size for a file of this name, in bytes."""
    name = name.lower()
    if name.endswith(_EDITED_SUFFIXES):
        return EDITED_CHUNK_BYTES
    return MEDIA_CHUNK_BYTES if name.endswith(_MEDIA_SUFFIXES) else CHUNK_BYTES
