"""Mail addresses as one form: what is sent to, and what two rows of one person have in common.

Owns the check and the normal form. Leaves to the mail server whether a mailbox exists.

Rules
- Domains become A-labels by IDNA 2008 (RFC 5891): Python's own codec still follows IDNA 2003, which
  takes `straße.de` for `strasse.de`, another owner.
- The part before the @ is a dot-atom (RFC 5322 3.2.3), with letters of any script (RFC 6531);
  quoted strings, comments and address literals are refused, since no customer has one and parsers
  disagree. So is the beginning of an encoded word (RFC 2047), though made of atoms' characters:
  whoever decodes it reads line breaks and other addresses.
- It keeps its case for sending; two addresses that differ in case only are one person.
- Reasons carry no address.
- A list that people wrote is read for every mailbox that it may mean: what is left out of a list of
  those never to be written to is somebody who is written to.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import idna

from standfast.notices.plain_text import begins_encoded_word

LONGEST_ADDRESS = 254  # RFC 5321 4.5.3.1.3, less the angle brackets
LONGEST_LOCAL_PART = 64  # octets, RFC 5321 4.5.3.1.1

_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")

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


@lru_cache(maxsize=4096)  # a batch is looked at by each of those who handle it
def parse_address(text: str) -> Address:
    """Read one address; raise ValueError with a reason that does not repeat it."""
    text = text.strip(" ")
    if not text:
        raise ValueError("there is no address")
    if len(text) > LONGEST_ADDRESS:
        raise ValueError(f"the address is longer than {LONGEST_ADDRESS} characters")
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise ValueError("the address is not of the form name@domain")
    local = unicodedata.normalize("NFC", local)
    if begins_encoded_word(local):
        raise ValueError("the part before the @ has the beginning of an encoded word")
    if not _ATOM.fullmatch(local):
        raise ValueError("the part before the @ has a character that no mailbox here may have")
    if len(local.encode()) > LONGEST_LOCAL_PART:
        raise ValueError(f"the part before the @ is longer than {LONGEST_LOCAL_PART} bytes")
    address = Address(local=local, domain=_a_labels(domain))
    if len(address.text.encode()) > LONGEST_ADDRESS:
        raise ValueError(f"the address is longer than {LONGEST_ADDRESS} bytes once encoded")
    return address


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


@lru_cache(maxsize=4096)  # an audience has many people and few domains
def _a_labels(domain: str) -> str:
    try:
        labels = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError("the part after the @ is no domain name") from error
    if "." not in labels.strip("."):
        raise ValueError("the part after the @ has no dot")
    if labels.endswith("."):
        raise ValueError("the part after the @ ends in a dot")
    if labels.rpartition(".")[2].isdigit():
        raise ValueError("the part after the @ is a number, not a domain name")
    return labels
