"""Look-up of many LDAP entries, by name or id, with few searches.

Rules
- The entry of a name is the one that a search for this name alone would return. Entries are matched
  by their names without case. A name without a match is searched alone, because a matching rule of
  the directory may ignore more than case.
- An ambiguous name does not affect the look-up of the other names: only its own result is an error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from standfast.adapters.accounts.base.pooled_connector import is_text
from standfast.adapters.clients.ldap.entries import LdapEntry, folded, one_or_none
from standfast.errors import Unavailable

_MOST_A_SEARCH = 50  # values in one filter, because servers limit its length

_T = TypeVar("_T")
Search = Callable[[str, Sequence[bytes]], list[LdapEntry]]  # takes an attribute and its values
Found = LdapEntry | Unavailable | None  # None: no such entry


def by_names(search: Search, attribute: str, names: Sequence[str]) -> dict[str, Found]:
    """Return the account of each name; `attribute` contains the names."""
    asked = [name for name in dict.fromkeys(names) if is_text(name)]
    known: dict[str, dict[str, LdapEntry]] = {}
    for part in _parts(asked):
        for entry in search(attribute, [name.encode() for name in part]):
            for spelling in {folded(text) for text in entry.texts(attribute)}:
                known.setdefault(spelling, {})[entry.dn] = entry
    found: dict[str, Found] = dict.fromkeys(names)
    for name in asked:
        entries = [*known.get(folded(name), {}).values()]
        if not entries:
            entries = search(attribute, [name.encode()])
        found[name] = _account_named(entries, attribute, name)
    return found


def by_ids(
    search: Search, attribute: str, values: Mapping[str, bytes]
) -> dict[str, LdapEntry | None]:
    """Return the entry of each id; `values` are the ids in directory form."""
    known: dict[bytes, LdapEntry] = {}
    for part in _parts([*values.values()]):
        for entry in search(attribute, part):
            known |= dict.fromkeys(entry.values(attribute), entry)
    found: dict[str, LdapEntry | None] = {}
    for name, value in values.items():
        found[name] = known.get(value) or next(iter(search(attribute, [value])), None)
    return found


def entry_or_raise(found: Found) -> LdapEntry | None:
    """Return the entry, or raise the error of its look-up."""
    if isinstance(found, Unavailable):
        raise found
    return found


def _account_named(entries: Sequence[LdapEntry], attribute: str, name: str) -> Found:
    try:
        return one_or_none(entries, lambda entry: name in entry.texts(attribute))
    except Unavailable as error:
        return error


def _parts(asked: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield groups of values, one for each search."""
    if len(asked) > 1:
        for start in range(0, len(asked), _MOST_A_SEARCH):
            yield asked[start : start + _MOST_A_SEARCH]
