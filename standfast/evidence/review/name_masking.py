"""Masking of the accounts of all records, wherever a value names them.

    names = AccountNames()
    for event in events:
        names.add(event)
    mask = names.masking(mask)      # a MaskRecord that replaces these names too

Rules
- An account of any record is replaced in the values of all records: as a whole word, in any case,
  with or without its domain. A name that is more than one word, such as `o'brien` or `HOST7$`, is
  found by its first word, so that a value takes no longer if there are many accounts.
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
_ENDINGS = ".+-"  # in a name, but not at its end
_WORD = re.compile(r"%[0-9A-Fa-f]{2}|[\w.+-]+(?:[@\\][\w.+-]+)?")
_CONTINUES = re.compile(r"[\w@+-]|\.\w")  # after a part of a longer name


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
        accounts: dict[str, str] = {}  # by name, in lower case
        # Lengths of the names that are more than one word, by the first word.
        lengths: dict[str, list[int]] = {}
        for account in sorted(self._accounts):
            for form in account_forms(account):
                first = _WORD.search(form)
                name = form[first.start() :] if first else ""
                if first is None or len(name) < _SHORTEST:
                    continue
                accounts[name.casefold()] = account
                if len(name) > len(first[0]):
                    word = first[0].rstrip(_ENDINGS).casefold()
                    lengths.setdefault(word, []).append(len(name))
        longest_first = {word: sorted({*found}, reverse=True) for word, found in lengths.items()}

        def find(value: str, start: int, word: str) -> tuple[str, int] | None:
            """Return the account of the name at a place, and its end."""
            bare = word.rstrip(_ENDINGS)
            for length in longest_first.get(bare.casefold(), ()):
                end = start + length
                account = accounts.get(value[start:end].casefold())
                if account is not None and not _CONTINUES.match(value, end):
                    return account, end
            account = accounts.get(bare.casefold())
            return None if account is None else (account, start + len(bare))

        def replaced(value: str) -> str:
            pieces, done = [], 0
            for match in _WORD.finditer(value):
                if match.start() < done:
                    continue
                start, word = match.start(), match[0]
                found = find(value, start, word)
                if found is None and "\\" in word:
                    name = word.rpartition("\\")[2]
                    found = find(value, match.end() - len(name), name)
                if found is not None:
                    account, end = found
                    pieces += [value[done:start], mask(account, account)]
                    done = end
            return "".join([*pieces, value[done:]])

        return lambda value, account: mask(replaced(value), account)
