"""Mail addresses: syntax by email-validator, a form for sending and a key for comparison.

Rules
- Whether a mailbox exists is left to the mail server.
- Domains become A-labels by IDNA 2008 (RFC 5891): IDNA 2003 maps `straße.de` to `strasse.de`, which
  belongs to another owner.
- Quoted strings, comments and address literals are refused: parsers disagree about them. So is the
  beginning of an encoded word (RFC 2047), because its decoded form may have line breaks.
- The local part keeps its case for sending; two addresses that differ in case only are one person.
- Reasons do not repeat the address.
- A list that people wrote is read for every mailbox that it may mean: an address missing from a
  do-not-contact list would be written to.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import email_validator
from email_validator import EmailNotValidError, validate_email

from standfast.notices.plain_text import begins_encoded_word

LONGEST_ADDRESS = 254  # RFC 5321 4.5.3.1.3, less the angle brackets
LONGEST_LOCAL_PART = 64  # octets, RFC 5321 4.5.3.1.1

# The package refuses names such as company.local, which a relay inside the company delivers to.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_BETWEEN = re.compile(r'[\s,;:<>()\[\]"]+')  # what no atom has, as it stands around addresses


@dataclass(frozen=True, kw_only=True)
class Address:
    """One mailbox: `local` as written, `domain` as lower-case A-labels."""

    local: str
    domain: str

    @property
    def text(self) -> str:
        """The address to send to."""
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """The same for every spelling of this mailbox."""
        return f"{self.local.casefold()}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        return not self.local.isascii()


@lru_cache(maxsize=4096)  # each stage of a batch parses its addresses
def parse_address(text: str) -> Address:
    """Parse one address; ValueError, with a reason that does not repeat it, if invalid."""
    text = text.strip(" ")
    if not text:
        raise ValueError("there is no address")
    if len(text) > LONGEST_ADDRESS:
        raise ValueError(f"the address is longer than {LONGEST_ADDRESS} characters")
    try:
        found = validate_email(text, check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError("the address is not of the form name@domain") from error
    if begins_encoded_word(found.local_part):
        raise ValueError("the part before the @ has the beginning of an encoded word")
    if len(found.local_part.encode()) > LONGEST_LOCAL_PART:
        raise ValueError(f"the part before the @ is longer than {LONGEST_LOCAL_PART} bytes")
    return Address(local=found.local_part, domain=found.ascii_domain)


def addresses_in(text: str) -> Sequence[Sequence[Address]]:
    """Give for each word with an @ which mailboxes it may mean; none where it can mean none.

    For what people write on lists: `Ana <ana@x.test>`, `mailto:ana@x.test`, two with a semicolon.
    """
    words = [word for word in _BETWEEN.split(text) if "@" in word]
    return [_readings(word) for word in words]


def _readings(word: str) -> list[Address]:
    """Read a word as it stands, and without the quotes or the full stop around it."""
    found: list[Address] = []
    for reading in dict.fromkeys((word, word.strip("'."))):
        try:
            found.append(parse_address(reading))
        except ValueError:
            continue
    return found
