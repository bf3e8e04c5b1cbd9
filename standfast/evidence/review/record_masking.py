"""Masking of accounts and sensitive values in the records of a review.

Rules
- An account is shown as a pseudonym, which is the same in all reviews of an incident, so its
  records can be followed. The pseudonym depends on a key of this host. A person without access
  to this host cannot find the name by trying names; a person that may run a review here can.
- The account of a record is replaced in its other values too, also without the domain of its mail
  address. Other accounts that a record names stay in clear, as other names do.
- Values are masked before they are cut, searched or shown.
"""

import hmac
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.evidence.text_masking import mask_text

MaskRecord: TypeAlias = Callable[[str, str], str]  # a value and the account of its record
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")  # digits could mean a card
_LENGTH = 12  # letters of a pseudonym: of a million accounts, hardly two share one
_CACHED = 65_536


def in_clear(value: str, _account: str) -> str:
    """Return a value as it is."""
    return value


def masking_with(signing_key: Ed25519PrivateKey, incident_id: str) -> MaskRecord:
    """Return the masking of an incident's records, by the host's key."""
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


@lru_cache(maxsize=_CACHED)
def _names_of(account: str) -> re.Pattern[str]:
    """Return a pattern of an account's name, with and without its domain."""
    names = {account, account.rpartition("\\")[2].partition("@")[0] or account}
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.compile(
        rf"(?:(?<![\w.+-])|(?<=%[0-9A-Fa-f]{{2}}))(?:{'|'.join(longest_first)})(?![\w@+-]|\.\w)",
        re.IGNORECASE,
    )
