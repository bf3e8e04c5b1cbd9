"""Header of an age file: its length, and the number of keys that open it.

The time to open an age file is quadratic in the length of its header: 20 seconds for a header of
100 KB. An attacker could store such files to delay readers. So readers open a file only if its
header is short. No key is needed to read the header.
"""

MAX_HEADER_BYTES = 4096

_STANZA = b"\n-> "
_END = b"\n---"  # the last line of the header
_GREASE = b"-grease"  # age adds such stanzas without a key, to test that readers skip them


def count_openers(wrapped: bytes) -> int:
    """Return the number of keys or passphrases that open an age file.

    Return 0 if the header is incomplete and the data has fewer than MAX_HEADER_BYTES. If the header
    is longer than MAX_HEADER_BYTES, count only the keys in its first MAX_HEADER_BYTES.
    """
    header, end, _ = wrapped[:MAX_HEADER_BYTES].partition(_END)
    if not end and len(wrapped) < MAX_HEADER_BYTES:
        return 0
    kinds = (stanza.partition(b"\n")[0].split(b" ")[0] for stanza in header.split(_STANZA)[1:])
    return sum(not kind.endswith(_GREASE) for kind in kinds)


def has_short_header(wrapped: bytes, max_bytes: int = MAX_HEADER_BYTES) -> bool:
    """Return whether the header ends within `max_bytes`."""
    return wrapped.find(_END, 0, max_bytes) >= 0
