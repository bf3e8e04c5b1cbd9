"""Audiences from the users of a SCIM directory (RFC 7643 4.1).

An audience is the list of recipients of a notice (a message to the people that an incident
concerns). This module converts a user to a row; `accounts.scim.user_list` lists the users.
"""

from collections.abc import Iterable, Iterator, Mapping

from standfast.notices.audience import NO_RULES, Audience, gather
from standfast.notices.audience_rows import Row, Rules

DISABLED = "the account is disabled in the directory"


def scim_audience(
    users: Iterable[Mapping[str, object]],
    rules: Rules = NO_RULES,
    *,
    includes_disabled: bool = False,
) -> Audience:
    """Return the audience of users, by their primary or else first address.

    The key is the user's id, and the language is `preferredLanguage` or `locale`. Disabled accounts
    are rejected with that reason unless they are included.
    """
    return gather(_rows(users, includes_disabled), rules)


def _rows(
    users: Iterable[Mapping[str, object]], includes_disabled: bool
) -> Iterator[tuple[int, Row]]:
    for number, user in enumerate(users, start=1):
        if user.get("active") is False and not includes_disabled:
            yield number, DISABLED
            continue
        yield (
            number,
            {
                "address": _mail(user.get("emails")),
                "key": _text(user, "id"),
                "name": _name(user),
                "language": _text(user, "preferredLanguage") or _text(user, "locale"),
            },
        )


def _mail(emails: object) -> str:
    """Return the primary address, or else the first; ignore address types."""
    entries = emails if isinstance(emails, list) else []
    found = [entry for entry in entries if isinstance(entry, Mapping)]
    primary = [entry for entry in found if entry.get("primary") is True]
    return next((value for entry in [*primary, *found] if (value := _text(entry, "value"))), "")


def _name(user: Mapping[str, object]) -> str:
    name = user.get("name")
    parts = name if isinstance(name, Mapping) else {}
    whole = " ".join(filter(None, (_text(parts, "givenName"), _text(parts, "familyName"))))
    return _text(user, "displayName") or _text(parts, "formatted") or whole


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
