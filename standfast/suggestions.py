"""Hints for unknown names: the known names, and the nearest one."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_NAMED = 30
_LONGEST = 100  # characters to compare: a pasted text may be long


def known_names_hint(word: str, known: Iterable[str]) -> str:
    """Return the known names and the nearest one, as text."""
    names = sorted(known)
    if not names:
        return "there are none"
    hint = f"the known names are: {', '.join(names[:_MOST_NAMED])}"
    if more := names[_MOST_NAMED:]:
        hint += f" and {len(more):,} more"
    return hint + nearest_name_hint(word, names)


def nearest_name_hint(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'a'?` for the nearest name, or an empty text."""
    near = nearest_name(word, known)
    return f"; did you mean {near!r}?" if near else ""


def nearest_name(word: str, known: Iterable[str]) -> str:
    """Return the nearest known name; empty if none is near."""
    known = list(known)
    ends = [name for name in known if word and name.endswith(word)]
    if len(ends) == 1:  # a word such as 0007, for the name inc-2026-0007
        return ends[0]
    # Ignore case: us-ca means US-CA. Prefer a common beginning: eu-gdpr-33 does not mean uk-gdpr.
    folded = {name.casefold(): name for name in known}
    meant = word[:_LONGEST].casefold()
    begun = [name for name in folded if meant and name.startswith(meant)]
    near = get_close_matches(meant, begun or folded, n=1, cutoff=0.3 if begun else 0.6)
    return folded[near[0]] if near else ""
