"""Bundled reader: FORMAT.md and break_glass.py, stored in the vault.

With these two files, a restore is possible when every other copy of the program is lost.

- `pub/format/<sha256>` is FORMAT.md and `pub/reader/<sha256>` is break_glass.py. Each name contains
  the hash of the file, so a modified copy is noticed.
- Both files are put when the repository is created. If a newer version of the program changes a
  file, the owner of the repository puts the new file too; the older files remain.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from backup.errors import AlreadyThere
from backup.format.object_names import FORMATS, READERS
from backup.stores import Store

CONTRACT, READER = "FORMAT.md", "break_glass.py"


def bundled_files() -> dict[str, bytes]:
    """Return both files of this program version, by object name."""
    return {
        prefix + hashlib.sha256(data).hexdigest(): data
        for prefix, data in ((FORMATS, document(CONTRACT)), (READERS, document(READER)))
    }


def document_sha256(file: str) -> str:
    """Return the SHA-256 of this version's CONTRACT or READER."""
    return hashlib.sha256(document(file)).hexdigest()


def publish_bundled_reader(vault: Store) -> None:
    """Put the files of this version that the vault does not have yet."""
    for name, data in bundled_files().items():
        with suppress(AlreadyThere):
            vault.put(name, data)


def document(file: str) -> bytes:
    """Return the bytes of this version's CONTRACT or READER."""
    return (Path(__file__).parents[1] / file).read_bytes()
