"""Output of a command or HTTP request: the part that its result stores.

Rules
- At most the first 16 KiB of an output are kept; the remaining bytes are counted.
- Secrets of the procedure are replaced, and control characters are removed. Personal data stay,
  because the stored result is encrypted.
"""

from collections.abc import Iterable

MOST_CHARACTERS = 16 * 1024
READ_BYTES = 20 * 1024  # more than is kept: a secret at the limit must be masked as a whole


def kept_text(data: bytes, secrets: Iterable[str], left_out: int = 0) -> str:
    """Return the text to keep; `left_out` counts bytes that were never read."""
    text = data[:READ_BYTES].decode("utf-8", errors="replace")
    left_out += len(data[READ_BYTES:])
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    text = "".join(
        character if character.isprintable() or character == "\n" else " " for character in text
    )
    left_out += len(text[MOST_CHARACTERS:])
    text = text[:MOST_CHARACTERS]
    return f"{text}\n[{left_out} more left out]" if left_out else text
