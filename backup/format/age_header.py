"""Header of an age file: how many keys open it, without a key.

Opening an age file takes time quadratic in the length of its header: 20 seconds for 100 KB. So a
file that somebody may have made to delay us is opened only if its header is short.
"""

MAX_HEADER_BYTES = 4096

_STANZA = b"\n-> "
_END = b"\n---"  # the last line of the header
_GREASE = b"-grease"  # age adds such stanzas, so that readers learn to skip unknown ones


def count_openers(wrapped: bytes) -> int:
    """Return how many keys or passphrases open an age file, else 0.

    Count only the beginning of a header that is too long to open.
    """
    header, end, _ = wrapped[:MAX_HEADER_BYTES].partition(_END)
    if not end and len(wrapped) < MAX_HEADER_BYTES:
        return 0
    kinds = (stanza.partition(b"\n")[0].split(b" ")[0] for stanza in header.split(_STANZA)[1:])
    return sum(not kind.endswith(_GREASE) for kind in kinds)


def has_short_header(wrapped: bytes, max_bytes: int = MAX_HEADER_BYTES) -> bool:
    """Return whether the header ends within `max_bytes`."""
    return wrapped.find(_END, 0, max_bytes) >= 0
