"""Masking of names and addresses: recognizable, but not usable.

Rules
- The first letter is kept, and the rest becomes `***`, which hides the length. A mail address also
  keeps its domain.
- A value that does not begin with a letter or digit is hidden completely.
- Masked values are only for reading, because the values of two people may be equal.
"""

_HIDDEN = "***"


def mask_word(word: str) -> str:
    """Keep the first letter or digit of a name."""
    first = word[:1]
    return (first if first.isalnum() else "") + _HIDDEN


def mask_address(address: str) -> str:
    """Mask a mail address: `anna@example.net` becomes `a***@example.net`."""
    local, at, domain = address.rpartition("@")
    return f"{mask_word(local)}@{domain}" if at else mask_word(address)


def mask_target(target: str) -> str:
    """Mask an account or recipient, but not its directory: `agents:m***`."""
    directory, colon, name = target.partition(":")
    if not colon:
        return mask_word(target)
    if directory == "mail":
        return mask_address(name) if "@" in name else name  # "row 17" names nobody
    return f"{directory}:{mask_word(name)}"
