"""Audiences from the users of a SCIM directory (RFC 7643 4.1).

Owns what of a user is an audience's row. Leaves listing the users to `accounts.scim_listing`.
"""

from collections.abc import Iterable, Iterator, Mapping

from standfast.notices.audience import NO_RULES, Audience, Row, Rules, gather

DISABLED = "the account is disabled in the directory"


def scim_audience(
    users: Iterable[Mapping[str, object]],
    rules: Rules = NO_RULES,
    *,
    includes_disabled: bool = False,
) -> Audience:
    """Give everybody with a mail address; the primary one, else the first.

    The key is the user's id, the language `preferredLanguage` or `locale`. Disabled accounts are
    rejected by name of that reason unless they are included.
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
    """Give the primary address, else the first; the type of neither matters."""
    found = [one for one in emails if isinstance(one, Mapping)] if isinstance(emails, list) else []
    primary = [one for one in found if one.get("primary") is True]
    return next((value for one in [*primary, *found] if (value := _text(one, "value"))), "")


def _name(user: Mapping[str, object]) -> str:
    name = user.get("name")
    parts = name if isinstance(name, Mapping) else {}
    whole = " ".join(filter(None, (_text(parts, "givenName"), _text(parts, "familyName"))))
    return _text(user, "displayName") or _text(parts, "formatted") or whole


def _text(there: Mapping[str, object], key: str) -> str:
    value = there.get(key)
    return value if isinstance(value, str) else ""
