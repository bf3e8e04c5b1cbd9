"""Names and addresses as a page may show them: enough to recognise, too little to use.

Rules
- The first letter stays, the rest becomes `***` whatever its length; an address keeps its domain.
- What begins with no letter or digit shows nothing of itself.
- A masked value is for reading: two people may well look the same.
"""

_HIDDEN = "***"


def mask_word(word: str) -> str:
    """Keep the first letter or digit of a name."""
    first = word[:1]
    return (first if first.isalnum() else "") + _HIDDEN


def mask_address(address: str) -> str:
    """Keep the first letter and the domain of a mail address: `a***@example.net`."""
    local, at, domain = address.rpartition("@")
    return f"{mask_word(local)}@{domain}" if at else mask_word(address)


def mask_target(target: str) -> str:
    """Mask the target of an effect, which begins with what it lies in: `agents:m***`."""
    place, colon, name = target.partition(":")
    if not colon:
        return mask_word(target)
    if place == "mail":
        return mask_address(name) if "@" in name else name  # "row 17": it names nobody
    return f"{place}:{mask_word(name)}"
