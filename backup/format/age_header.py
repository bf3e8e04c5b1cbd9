"""What an age file says openly of who opens it: enough to see that it is one key and no more.

- To open one takes more than the square of its header's length: 20 seconds for 100 KB.  So what
  somebody may have made to hold us up is opened only if its header is short.
"""

MAX_HEADER_BYTES = 4096

_STANZA = b"\n-> "
_END = b"\n---"  # the header's last line
_GREASE = b"-grease"  # what age puts beside the true ones, so that readers pass over what is new


def openers(wrapped: bytes) -> int:
    """How many keys or passphrases an age file says that it opens for; 0 if it is none.

    Of a header that is too long to be opened, those that it begins with.
    """
    header, end, _ = wrapped[:MAX_HEADER_BYTES].partition(_END)
    if not end and len(wrapped) < MAX_HEADER_BYTES:
        return 0
    kinds = (stanza.partition(b"\n")[0].split(b" ")[0] for stanza in header.split(_STANZA)[1:])
    return sum(not kind.endswith(_GREASE) for kind in kinds)


def has_short_header(wrapped: bytes, most_bytes: int = MAX_HEADER_BYTES) -> bool:
    """Whether a header ends within so many bytes: whoever opens it knows soon whether it can."""
    return wrapped.find(_END, 0, most_bytes) >= 0
