"""Names of all objects (records, packs, snapshots); lowest free number.

A root record is the owner's signed list of authorized keys. A keep record is a keeper's signed list
of expired recovery points and removed packs. A key record contains the encrypted private key of a
domain, a group of backup sets. A writer is a backup host. The vault is the folder or bucket with
the encrypted backups; the key store contains the key records.

vault  pub/root/<number, 10 digits>
       pub/keep/<number, 10 digits>
       pub/format/<sha256 hex>                     FORMAT.md
       pub/reader/<sha256 hex>                     break_glass.py
       w/<writer>/p/<first 2 hex>/<sha256 hex>     a pack
       w/<writer>/s/<sequence, 10 digits>          a snapshot
keys   k/<domain>/<generation>/<number>            a key record; both numbers have 10 digits
"""

import re
from collections.abc import Container

from backup.errors import Damaged

ROOTS = "pub/root/"
KEEPS = "pub/keep/"
FORMATS = "pub/format/"
READERS = "pub/reader/"
MAX_NUMBER = 9_999_999_999

# Larger objects are invalid and are not read. Without these limits, anybody with the right to put
# objects could exhaust the memory of a reader.
MAX_ROOT_RECORD_BYTES = MAX_KEY_RECORD_BYTES = MAX_BUNDLED_FILE_BYTES = 1024 * 1024
MAX_KEEP_RECORD_BYTES = 16 * 1024 * 1024
MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024

_NUMBER = re.compile("[0-9]{10}")
_COPY = re.compile(r"pub/(?:format|reader)/([0-9a-f]{64})")
_PACK = re.compile(r"w/([a-z0-9][a-z0-9_-]{0,30})/p/([0-9a-f]{2})/([0-9a-f]{64})")


def root_name(number: int) -> str:
    """Return the name of a root record."""
    return f"{ROOTS}{_digits(number)}"


def keep_name(number: int) -> str:
    """Return the name of a keep record."""
    return f"{KEEPS}{_digits(number)}"


def key_name(domain: str, generation: int, number: int) -> str:
    """Return the name of a key record."""
    return f"{key_prefix(domain, generation)}{_digits(number)}"


def key_prefix(domain: str, generation: int) -> str:
    """Return the prefix of the key records of one key pair of a domain."""
    return f"k/{domain}/{_digits(generation)}/"


def pack_prefix(writer: str) -> str:
    """Return the prefix of a writer's packs."""
    return f"w/{writer}/p/"


def pack_name(writer: str, sha256: str) -> str:
    """Return the name of a pack."""
    return f"{pack_prefix(writer)}{sha256[:2]}/{sha256}"


def snapshot_prefix(writer: str) -> str:
    """Return the prefix of a writer's snapshots."""
    return f"w/{writer}/s/"


def snapshot_name(writer: str, sequence: int) -> str:
    """Return the name of a snapshot."""
    return f"{snapshot_prefix(writer)}{_digits(sequence)}"


def parse_number(name: str, prefix: str) -> int | None:
    """Return the number in the name of a record or snapshot.

    Return None if the name is not the prefix and ten digits.
    """
    digits = name.removeprefix(prefix)
    return int(digits) if name.startswith(prefix) and _NUMBER.fullmatch(digits) else None


def next_number(prefix: str, after: int, taken: Container[int]) -> int:
    """Return the lowest free number after the number of a valid object.

    The lowest free number is used, not the highest taken number plus one. Otherwise anybody with
    the right to put objects could take the highest possible number, and no number would remain.
    Raise `Damaged` if the valid object has the highest possible number.
    """
    number = after + 1
    while number in taken:
        number += 1
    if number > MAX_NUMBER:
        raise Damaged(
            f"{prefix}{MAX_NUMBER} has a trusted signature, so no number can follow it; somebody "
            "else has that key. The owner must end the trust in the key after the last correct "
            "number"
        )
    return number


def parse_pack_name(name: str) -> tuple[str, str] | None:
    """Return the (writer, sha256) in the name of a pack, or None."""
    match = _PACK.fullmatch(name)
    if match is None or not match[3].startswith(match[2]):
        return None
    return match[1], match[3]


def bundled_sha256(name: str) -> str | None:
    """Return the SHA-256 in the name of FORMAT.md or break_glass.py, or None."""
    match = _COPY.fullmatch(name)
    return None if match is None else match[1]


def _digits(number: int) -> str:
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"{number} is not a valid number of an object")
    return f"{number:010d}"
