"""Bundled reader: FORMAT.md and break_glass.py, stored in the vault.

The vault is the folder or bucket with the encrypted backups. FORMAT.md describes their format, and
break_glass.py restores them without any other module. So a restore is possible when every other
copy of the program is lost.

- `pub/format/<sha256>` is FORMAT.md and `pub/reader/<sha256>` is break_glass.py. Each name contains
  the hash of the file, so a modified copy is noticed.
- The creation of a repository puts both files into its vault. If a newer version of the program
  changes a file, an operation of the repository's owner puts the new file too. The older files
  remain.
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
