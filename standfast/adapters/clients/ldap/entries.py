"""Entries of a directory, and comparison of their names and DNs."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from standfast.errors import Unavailable


@dataclass(frozen=True, kw_only=True)
class LdapEntry:
    """An entry with the requested attributes; their names are in lower case."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    def values(self, attribute: str) -> tuple[bytes, ...]:
        return self.attributes.get(attribute.lower(), ())

    def texts(self, attribute: str) -> list[str]:
        return [value.decode(errors="replace") for value in self.values(attribute)]


def folded(name: str) -> str:
    """Return a name as a case-insensitive matching rule compares it.

    The rule is RFC 4518, section 2. Each letter is folded alone: servers do not fold a sharp s or a
    final sigma.
    """
    lower = "".join(letter.lower() for letter in unicodedata.normalize("NFKC", name))
    return " ".join(lower.split())


def folded_dn(dn: str) -> str:
    """Return a DN in a form that ignores case and spaces between its parts.

    A person may write `cn=us, dc=example`, which servers accept as RFC 2253 (4) did.
    """
    return folded(re.sub(r"\s*([,;=+])\s*", r"\1", dn))


def own_name(entry: LdapEntry, attribute: str) -> str:
    """Return the value of an attribute that names an entry; empty if none.

    If the attribute has several values, the result is the value in the DN, or else the first value
    that the directory returns.
    """
    names = entry.texts(attribute)
    if len(names) < 2:
        return next(iter(names), "")
    return _in_dn(entry.dn, attribute) or names[0]


def _in_dn(dn: str, attribute: str) -> str:
    from ldap3.core.exceptions import LDAPInvalidDnError
    from ldap3.utils.dn import parse_dn

    try:
        parts = parse_dn(dn, escape=False)
    except LDAPInvalidDnError:
        return ""
    for type_, value, separator in parts:
        if type_.casefold() == attribute.casefold():
            return _unescaped(value)
        if separator != "+":
            break
    return ""


def _unescaped(value: str) -> str:
    """Decode a value of a DN from the form of RFC 4514 (2.4)."""

    def read(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode()) if len(match[1]) == 2 else match[1]

    pattern = rb"\\([0-9A-Fa-f]{2}|.)"
    return re.sub(pattern, read, value.encode()).decode(errors="replace")


def one_or_none(
    entries: Sequence[LdapEntry], is_exact: Callable[[LdapEntry], bool]
) -> LdapEntry | None:
    """Return the only or the exact match; `Unavailable` for several matches."""
    exact = [entry for entry in entries if is_exact(entry)]
    found = exact if len(exact) == 1 else entries
    if len(found) > 1:
        raise Unavailable("several accounts have this name. Narrow `base` or `filter`.")
    return found[0] if found else None
