"""What an age file says openly of who opens it: enough to see that it is one key and no more."""

_STANZA = b"\n-> "
_END = b"\n---"  # the header's last line
_GREASE = b"-grease"  # what age puts beside the true ones, so that readers pass over what is new


def openers(wrapped: bytes) -> int:
    """How many keys or passphrases an age file says that it opens for; 0 if it is none."""
    header, end, _ = wrapped.partition(_END)
    if not end:
        return 0
    kinds = (stanza.partition(b"\n")[0].split(b" ")[0] for stanza in header.split(_STANZA)[1:])
    return sum(not kind.endswith(_GREASE) for kind in kinds)
