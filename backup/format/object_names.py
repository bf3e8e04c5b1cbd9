"""The names of objects.

vault  pub/root/<number, 10 digits>
       pub/keep/<number, 10 digits>
       pub/format/<sha256 hex>                     FORMAT.md
       pub/reader/<sha256 hex>                     break_glass.py
       w/<writer>/p/<first 2 hex>/<sha256 hex>     a pack
       w/<writer>/s/<sequence, 10 digits>          a snapshot
keys   k/<domain>/<generation>/<number>            both 10 digits
"""

import re
from collections.abc import Container

from backup.errors import Damaged

ROOTS = "pub/root/"
KEEPS = "pub/keep/"
FORMATS = "pub/format/"
READERS = "pub/reader/"
MAX_NUMBER = 9_999_999_999

# What is larger is no such object, and is not read: who may put objects must not fill a reader.
MAX_ROOT_RECORD_BYTES = MAX_KEY_RECORD_BYTES = MAX_BUNDLED_FILE_BYTES = 1024 * 1024
MAX_KEEP_RECORD_BYTES = 16 * 1024 * 1024
MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024

_NUMBER = re.compile("[0-9]{10}")
_COPY = re.compile(r"pub/(?:format|reader)/([0-9a-f]{64})")
_PACK = re.compile(r"w/([a-z0-9][a-z0-9_-]{0,30})/p/([0-9a-f]{2})/([0-9a-f]{64})")


def root_name(number: int) -> str:
    return f"{ROOTS}{_digits(number)}"


def keep_name(number: int) -> str:
    return f"{KEEPS}{_digits(number)}"


def key_name(domain: str, generation: int, number: int) -> str:
    return f"{keys_of(domain, generation)}{_digits(number)}"


def keys_of(domain: str, generation: int) -> str:
    return f"k/{domain}/{_digits(generation)}/"


def packs_of(writer: str) -> str:
    return f"w/{writer}/p/"


def pack_name(writer: str, sha256: str) -> str:
    return f"{packs_of(writer)}{sha256[:2]}/{sha256}"


def snapshots_of(writer: str) -> str:
    return f"w/{writer}/s/"


def snapshot_name(writer: str, sequence: int) -> str:
    return f"{snapshots_of(writer)}{_digits(sequence)}"


def number_in(name: str, prefix: str) -> int | None:
    """The number that a root, keep, key or snapshot is named by; None for any other name."""
    digits = name.removeprefix(prefix)
    return int(digits) if name.startswith(prefix) and _NUMBER.fullmatch(digits) else None


def next_number(prefix: str, behind: int, taken: Container[int]) -> int:
    """The lowest free number behind one that counts.

    Not behind the highest in use: who may put an object could put one under the last number there
    is.  `Damaged` when what counts has that one.
    """
    number = behind + 1
    while number in taken:
        number += 1
    if number > MAX_NUMBER:
        raise Damaged(
            f"{prefix}{MAX_NUMBER} is signed by whom this repository trusts, so nothing can"
            " follow it: somebody else has that key. The owner has to end the trust in it, through"
            " the last number that is right"
        )
    return number


def pack_in(name: str) -> tuple[str, str] | None:
    """The (writer, sha256) that a pack is named by; None when the name is not a pack's."""
    found = _PACK.fullmatch(name)
    if found is None or not found[3].startswith(found[2]):
        return None
    return found[1], found[3]


def copy_in(name: str) -> str | None:
    """The SHA-256 that a copy of FORMAT.md or of the break-glass reader is named by."""
    found = _COPY.fullmatch(name)
    return None if found is None else found[1]


def _digits(number: int) -> str:
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"{number} numbers no object")
    return f"{number:010d}"
