"""Account names of all records, masked wherever a value contains one.

    names = AccountNames()
    for event in events:
        names.add(event)
    mask = names.masking(mask)      # a MaskRecord that replaces these names too

An event is one record of a log. In a masked review, pseudonyms replace the accounts.

Rules
- An account of any record is replaced in the values of all records: as a whole word, in upper
  or lower case, with or without its domain.
- A name that consists of several words, such as `o'brien` or `HOST7$`, is searched by its first
  word. Therefore the time of the search does not depend on the number of accounts.
- The account of a failed sign-in is not collected. Otherwise an attempt to sign in as `GET` or
  `from` would cause the replacement of these words in all records.
- Memory is bounded. If there are more than MOST_NAMES accounts, further ones are not collected,
  and `is_complete` is False.
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
# A name in a URL may follow an escaped character, such as %2F. A Windows account has a domain.
_ENDINGS = ".+-"  # characters that can be in a name, but not at its end
_WORD = re.compile(r"%[0-9A-Fa-f]{2}|[\w.+-]+(?:[@\\][\w.+-]+)?")
_CONTINUES = re.compile(r"[\w@+-]|\.\w")  # matches if a longer name continues here


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
        """Return a function that replaces these accounts, and then calls `mask`."""
        accounts: dict[str, str] = {}  # by name, in lower case
        # Lengths of the names that consist of several words, by their first word.
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
            """Return the account with a name at this place, and the end of the name."""
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
