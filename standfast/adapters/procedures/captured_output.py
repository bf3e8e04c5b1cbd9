"""What the other side printed or answered, made fit to be kept in a receipt.

Rules
- At most 16 KiB, from its beginning; what was left out is counted.
- Secrets that the procedure was given are replaced wherever they stand, and control characters
  are taken out. What is personal in it stays: receipts are sealed.
"""

from collections.abc import Iterable

MOST_CHARACTERS = 16 * 1024
READ_BYTES = 20 * 1024  # a little more, so that no secret is cut in two before it is masked


def kept_text(data: bytes, secrets: Iterable[str], left_out: int = 0) -> str:
    """Give the text to keep; `left_out` counts bytes that were not even looked at."""
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
