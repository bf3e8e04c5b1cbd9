"""Looking many LDAP entries up by few searches: which entry answers to which name, or has which id.

It owns how many are asked for at once, and telling the answers apart. What is read of an entry, and
on which connection, is its caller's business.

Rules
- A name's entry is the one that a search for this name alone would give. Entries are told apart by
  names without their case; a name that this leaves without one is asked for by itself, since a
  matching rule of the directory may let more through.
- One name that is not clear keeps nobody from the others: it comes with its error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from standfast.adapters.accounts.base.pooled_connector import is_text
from standfast.adapters.clients.ldap.client import LdapEntry, folded, one_or_none
from standfast.errors import Unavailable

_MOST_A_SEARCH = 50  # servers bound how long a filter may be

_T = TypeVar("_T")
Search = Callable[[str, Sequence[bytes]], list[LdapEntry]]  # by an attribute and its values
Found = LdapEntry | Unavailable | None  # None: there is none


def by_names(search: Search, attribute: str, names: Sequence[str]) -> dict[str, Found]:
    """Give the account of each name; `attribute` holds the names."""
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
        found[name] = _meant(entries, attribute, name)
    return found


def by_ids(
    search: Search, attribute: str, values: Mapping[str, bytes]
) -> dict[str, LdapEntry | None]:
    """Give the entry of each id; `values` has how the directory holds it."""
    known: dict[bytes, LdapEntry] = {}
    for part in _parts([*values.values()]):
        for entry in search(attribute, part):
            known |= dict.fromkeys(entry.values(attribute), entry)
    found: dict[str, LdapEntry | None] = {}
    for name, value in values.items():
        found[name] = known.get(value) or next(iter(search(attribute, [value])), None)
    return found


def clear(found: Found) -> LdapEntry | None:
    """Give the entry, or raise what kept it from being found."""
    if isinstance(found, Unavailable):
        raise found
    return found


def _meant(entries: Sequence[LdapEntry], attribute: str, name: str) -> Found:
    try:
        return one_or_none(entries, lambda entry: name in entry.texts(attribute))
    except Unavailable as error:
        return error


def _parts(asked: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Share them out over searches; one alone is asked for by itself anyhow."""
    if len(asked) > 1:
        for start in range(0, len(asked), _MOST_A_SEARCH):
            yield asked[start : start + _MOST_A_SEARCH]
