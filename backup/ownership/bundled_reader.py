"""What is needed when everything else is gone, kept beside the packs: the contract and its reader.

- `pub/format/<sha256>` is FORMAT.md, `pub/reader/<sha256>` is break_glass.py; each is named by its
  bytes, so a copy that was changed shows.
- They are put when the repository is made, and again by its owner when a newer version brings
  others; older copies stay.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from backup.errors import AlreadyThere
from backup.format.object_names import FORMATS, READERS
from backup.stores import Store

CONTRACT, READER = "FORMAT.md", "break_glass.py"


def bundled_files() -> dict[str, bytes]:
    """The objects of this version, by name."""
    return {
        prefix + hashlib.sha256(data).hexdigest(): data
        for prefix, data in ((FORMATS, document(CONTRACT)), (READERS, document(READER)))
    }


def sha256_of(file: str) -> str:
    """What this version's CONTRACT or READER is named by."""
    return hashlib.sha256(document(file)).hexdigest()


def publish_bundled_reader(vault: Store) -> None:
    """Put the copies that are not there yet."""
    for name, data in bundled_files().items():
        with suppress(AlreadyThere):
            vault.put(name, data)


def document(file: str) -> bytes:
    """Return the bytes of this version's CONTRACT or READER."""
    return (Path(__file__).parents[1] / file).read_bytes()
