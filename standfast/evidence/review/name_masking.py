"""Masking of the accounts of all records, wherever a value names them.

    names = AccountNames()
    for event in events:
        names.add(event)
    mask = names.masking(mask)      # a MaskRecord that replaces these names too

Rules
- An account of any record is replaced in the values of all records: as a whole word, in any case,
  with or without its domain.
- The account of a failed sign-in is not collected: everybody can cause a failed sign-in as `GET` or
  `from`, and these words would be replaced in all records.
- Memory is bounded: beyond MOST_NAMES accounts, new accounts are not collected, and `is_complete`
  is false.
"""

import re
from collections.abc import Iterable

from standfast.evidence.parsers.log_record import FAILURE
from standfast.evidence.review.log_timeline import Event
from standfast.evidence.review.record_masking import MaskRecord, account_forms

MOST_NAMES = 200_000
_LONGEST = 320  # characters of a name
_SHORTEST = 2
_FAILURES = frozenset({FAILURE, "401", "403"})
# A name in a URL may follow an escaped character, such as %2F. An account of Windows has a domain.
_WORD = re.compile(r"%[0-9A-Fa-f]{2}|[\w.+-]+(?:[@\\][\w.+-]+)?")


class AccountNames:
    """The accounts of the records that were read."""

    def __init__(self, accounts: Iterable[str] = ()) -> None:
        self._accounts = {account for account in accounts if account}
        self.is_complete = True

    def add(self, event: Event) -> None:
        """Collect the account of an event."""
        account = event.account
        if not account or account in self._accounts or event.result in _FAILURES:
            return
        if len(self._accounts) < MOST_NAMES:
            self._accounts.add(account[:_LONGEST])
        else:
            self.is_complete = False

    def masking(self, mask: MaskRecord) -> MaskRecord:
        """Return a masking that also replaces these accounts, before `mask`."""
        accounts = {
            form.casefold(): account
            for account in sorted(self._accounts)
            for form in account_forms(account)
            if len(form) >= _SHORTEST
        }

        def replaced(match: re.Match[str]) -> str:
            word = match[0].rstrip(".+-")
            account = accounts.get(word.casefold())
            if account is None and "\\" in word:
                account = accounts.get(word.rpartition("\\")[2].casefold())
            if account is None:
                return match[0]
            return mask(account, account) + match[0][len(word) :]

        return lambda value, account: mask(_WORD.sub(replaced, value), account)
