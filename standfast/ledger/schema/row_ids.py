"""Random identifiers of rows."""

import secrets


def new_token() -> str:
    """Return a new random identifier of 128 bits, in hex."""
    return secrets.token_hex(16)
