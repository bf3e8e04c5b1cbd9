"""Masking of one record: pseudonyms of its account, sensitive values.

A record is one event of a log.

Rules
- An account is shown as a pseudonym. It is the same in all reviews of an incident, so that a reader
  can follow the account. The pseudonym is computed with a key of this host. Therefore a person who
  cannot run a review on this host cannot find the account by trying names.
- The account of a record is replaced in all values of this record, with and without the domain of a
  mail address. `account_names` replaces the accounts of other records.
- Values are masked before they are cut, searched or shown.
"""

import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.evidence.text_masking import mask_text

MaskRecord: TypeAlias = Callable[[str, str], str]  # called with a value and its record's account
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")  # no digits of a card
_LENGTH = 12  # letters of a pseudonym; two of a million accounts rarely have the same one
_CACHED = 65_536


def in_clear(value: str, _account: str) -> str:
    """Return a value unmasked."""
    return value


def masking_with(signing_key: Ed25519PrivateKey, incident_id: str) -> MaskRecord:
    """Return the function that masks the records of an incident."""
    label = f"standfast-evidence review {incident_id}".encode()
    key = hmac.digest(signing_key.private_bytes_raw(), label, "sha256")

    @lru_cache(maxsize=_CACHED)
    def pseudonym(account: str) -> str:
        digest = hmac.digest(key, account.casefold().encode("utf-8", "surrogatepass"), "sha256")
        return f"account-{digest.hex()[:_LENGTH].translate(_LETTERS)}"

    def masked(value: str, account: str) -> str:
        if account:
            value = _names_of(account).sub(pseudonym(account), value)
        return mask_text(value)

    return masked


def account_forms(account: str) -> set[str]:
    """Return an account's name with and without its domain."""
    return {account, account.rpartition("\\")[2].partition("@")[0] or account}


@lru_cache(maxsize=_CACHED)
def _names_of(account: str) -> re.Pattern[str]:
    """Return a pattern of an account's name, with and without its domain."""
    longest_first = sorted(map(re.escape, account_forms(account)), key=len, reverse=True)
    return re.compile(
        rf"(?:(?<![\w.+-])|(?<=%[0-9A-Fa-f]{{2}}))(?:{'|'.join(longest_first)})(?![\w@+-]|\.\w)",
        re.IGNORECASE,
    )
