"""Cleaning of values: no control or invisible characters, one line.

`prepared_notice` escapes values for HTML. Senders refuse a message with a character that a mail
cannot contain (`is_mail_text`).

Rules
- Line breaks, tabs and other control characters become one space, so that a value never begins a
  line or a header.
- Invisible format characters are removed. The most dangerous ones are the bidirectional overrides:
  with them, a reader sees another text than the approved one. The two joiners are kept, because
  Persian and several Indian scripts need them inside a name.
- Half of a surrogate pair is removed: it cannot be encoded in UTF-8, so a mail cannot contain it.
- Cleaning a cleaned value changes nothing.
"""

import re
import unicodedata

JOINERS = frozenset("\u200c\u200d")
LINE_BREAKERS = frozenset({"Cc", "Zl", "Zp", "Zs"})

_NO_MAIL_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def is_mail_text(text: str) -> bool:
    """Return whether the body of a mail can contain each character of `text`."""
    return _NO_MAIL_TEXT.search(text) is None


def one_line(text: str) -> str:
    """Return `text` as one visible line, with single spaces between words."""
    if not text.isprintable():  # fast path: nearly every name is printable
        text = "".join(map(_visible, text))
    return " ".join(text.split())


def is_one_line(text: str) -> bool:
    """Return whether `text` has no line break and no invisible character."""
    return text.isprintable() or all(map(_is_harmless, text))


def begins_encoded_word(text: str) -> bool:
    """Return whether a mail program may decode a part of `text` (RFC 2047)."""
    return "=?" in text


def is_some_lines(text: str) -> bool:
    """Return whether each line of `text` passes `is_one_line`."""
    return all(is_one_line(line) for line in text.split("\n"))


def _is_harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return character in JOINERS or category not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in LINE_BREAKERS:
        return " "
    return character if _is_harmless(character) else ""
