"""What a value may carry before it stands in a notice or a header.

Owns the cleaning of single values. Leaves to `prepared` the escaping for HTML, and to the senders
the refusal of whole messages.

Rules
- Line breaks, tabs and other controls become one space: a value never starts a line or a header.
- Invisible format characters go, above all the bidirectional overrides that make a reader see
  another text than the one that was approved. The two joiners stay: Persian and several Indian
  scripts need them inside a name.
- Half of a surrogate pair goes: it has no UTF-8, so no mail can carry it.
- Cleaning twice changes nothing.
"""

import re
import unicodedata

JOINERS = frozenset("\u200c\u200d")
LINE_BREAKERS = frozenset({"Cc", "Zl", "Zp", "Zs"})

_NO_MAIL_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def is_mail_text(text: str) -> bool:
    """Is there nothing in `text` that no mail's body may carry?"""
    return _NO_MAIL_TEXT.search(text) is None


def one_line(text: str) -> str:
    """Give `text` back as one visible line, its spaces collapsed."""
    if not text.isprintable():  # the quick way out for nearly every name
        text = "".join(map(_visible, text))
    return " ".join(text.split())


def is_one_line(text: str) -> bool:
    """Is there nothing in `text` that breaks a line, hides or reorders?"""
    return text.isprintable() or all(map(_is_harmless, text))


def begins_encoded_word(text: str) -> bool:
    """Would who reads `text` in a header decode a part of it, line breaks and all (RFC 2047)?"""
    return "=?" in text


def is_some_lines(text: str) -> bool:
    """Is each line of `text`, taken alone, harmless?"""
    return all(is_one_line(line) for line in text.split("\n"))


def _is_harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return character in JOINERS or category not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in LINE_BREAKERS:
        return " "
    return character if _is_harmless(character) else ""
