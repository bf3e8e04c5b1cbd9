"""Masked form of a card number, a security number or a mail address.

This module defines the form of a masked text. `sensitive_numbers` defines which digits are a
number, and `masked_copy` masks files.

Rules
- In a doubtful case, the text is masked: a number within a word or an address is masked too.
- The last four digits of a card number are kept. PCI DSS 4.0.1, requirement 3.4.1, allows at most
  these and the digits of the issuer. No digit of a social-security number is kept, because people
  prove their identity with its last digits. Nine digits without hyphens are masked if a word such
  as "SSN" precedes them.
- The first letter and the domain of a mail address are kept. The @ may be plain, or escaped as in a
  URL, HTML or JSON.
- UTF-16 within a text is masked too, if its characters are Latin. Not masked: names, other numbers,
  passwords, and content that is encoded (base64) or encrypted.
- Masking a masked text changes nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from standfast.evidence.sensitive_numbers import Span, cards_in, social_security_in

_HIDDEN = "***"
_LEFT = 4  # last digits of a card number, which are not masked
_LABELLED = re.compile(
    r"(?i:ssn|social[ _-]?security)[^\d\n,]{0,20}(\d{3}[ .-]?\d\d[ .-]?\d{4})(?!\d)", re.ASCII
)
_LABEL = r"[A-Za-z0-9\x80-\uffff-]{1,63}"
_DOMAIN = re.compile(
    rf"(?:@|%(?:25){{0,3}}40|\\u0040|&#0{{0,5}}64;|&#[xX]0{{0,4}}40;)"
    rf"(?:{_LABEL}\.){{1,10}}[A-Za-z\x80-\uffff][A-Za-z0-9\x80-\uffff-]{{1,62}}"
)
_LONGEST_LOCAL = 320
_NAME = r"[A-Za-z0-9._%+'~\x80-\uffff-]"
# The address is matched backwards from the @. Mailing lists use the second form, user=domain+list.
_LOCAL_BACKWARDS = re.compile(rf'{_NAME}+(?:={_NAME}*\+{_NAME}*)?|"[^"\n:,]{{1,64}}"')
_DIGIT = re.compile(r"%2[0Dd]|\\u00[Aa]0|(\d)", re.ASCII)
_WIDE = re.compile(r"(?:[\t\x20-\x7e\xa0-\xff]\0){5,}[\t\x20-\x7e\xa0-\xff]?")


@dataclass(kw_only=True)
class Masked:
    """Counts of masked items, by kind."""

    cards: int = 0
    social_security: int = 0
    mail: int = 0

    def add(self, other: "Masked") -> None:
        """Add the counts of another text."""
        self.cards += other.cards
        self.social_security += other.social_security
        self.mail += other.mail


def mask_text(text: str, count: Masked | None = None) -> str:
    """Return `text` with all numbers and addresses masked.

    Add their counts to `count`, if it is given. Decode bytes as latin-1 before the call.
    """
    found = Masked() if count is None else count
    text = _mask(text, found)
    if "\0" in text:
        text = _WIDE.sub(lambda match: _mask_wide(match[0], found), text)
    return text


def _mask_wide(text: str, found: Masked) -> str:
    masked = "\0".join(_mask(text[::2], found))
    return masked + "\0" * (len(text) % 2 == 0)


def _mask(text: str, found: Masked) -> str:
    while cards := cards_in(text, is_alone=False):  # spans of card numbers may overlap
        text = _replaced(text, cards, _mask_card)
        found.cards += len(cards)
    numbers = social_security_in(text, is_alone=False)
    text = _replaced(text, numbers, _mask_number)
    labelled = [match.span(1) for match in _LABELLED.finditer(text)]
    text = _replaced(text, labelled, _mask_number)
    addresses = _locals(text)
    found.social_security += len(numbers) + len(labelled)
    found.mail += len(addresses)
    return _replaced(text, addresses, _mask_name)


def _replaced(text: str, spans: list[Span], mask: Callable[[str], str]) -> str:
    if not spans:
        return text
    parts, at = [], 0
    for start, end in spans:
        parts += [text[at:start], mask(text[start:end])]
        at = end
    return "".join((*parts, text[at:]))


def _locals(text: str) -> list[Span]:
    """Return the span of each mail address before its @, if not yet masked."""
    found: list[Span] = []
    for domain in _DOMAIN.finditer(text):
        end = domain.start()
        before = text[max(0, end - _LONGEST_LOCAL, found[-1][1] if found else 0) : end]
        if name := _LOCAL_BACKWARDS.match(before[::-1]):
            found.append((end - name.end(), end))
    return found


def _mask_card(number: str) -> str:
    digits = sum(match[1] is not None for match in _DIGIT.finditer(number))
    return _hide(number, digits - _LEFT)


def _mask_number(number: str) -> str:
    return _hide(number, len(number))


def _hide(number: str, count: int) -> str:
    """Replace the first `count` digits, except those of escaped characters."""
    left = count

    def hide(match: re.Match[str]) -> str:
        nonlocal left
        left -= match[1] is not None
        return "*" if match[1] and left >= 0 else match[0]

    return _DIGIT.sub(hide, number)


def _mask_name(name: str) -> str:
    first = name[:1]
    return (first if first.isalnum() else "") + _HIDDEN
