"""Changes of LDAP entries: written one after the other, then read back.

Rules
- A value is written only if it differs. The directory's report of success is not trusted: the entry
  is read back, and a change that is not in effect is FAILED.
- If the remaining time is needed to read back the changes already written, no further order (the
  change of one account) is begun.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from standfast.adapters.accounts.base.pooled_connector import not_begun
from standfast.adapters.accounts.base.results import ABSENT, NO_EFFECT, done, failed, refused
from standfast.adapters.clients.ldap.client import NO_SUCH_OBJECT, SUCCESS, LdapConnection, in_words
from standfast.adapters.clients.ldap.entries import LdapEntry
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import Order, Result
from standfast.time_limit import BoundedCall

# Modify operations in order; each maps attributes to the values that replace the present values.
Changes = Sequence[Mapping[str, Sequence[bytes]]]


@dataclass(frozen=True, kw_only=True)
class LdapChange:
    """A change of one entry, and the test that it is in effect."""

    entry: LdapEntry
    modifies: Changes
    is_in_effect: Callable[[LdapEntry], bool]
    added_again: Collection[str] = ()  # attributes to remove and add instead of replacing them


def change_each(
    connection: LdapConnection,
    bounded_call: BoundedCall,
    orders: Sequence[Order],
    decide: Callable[[Order], Result | LdapChange],
    *,
    is_late: Callable[[], bool],
    id_of: Callable[[LdapEntry], str],
    by_ids: Callable[[Sequence[str]], Mapping[str, LdapEntry | None]],
) -> list[Result]:
    """Write the changes that `decide` returns for each order; read them back."""
    results: dict[str, Result] = {}
    written: dict[str, LdapChange] = {}
    for order in orders:
        try:
            change = decide(order)
        except (Unavailable, ConfigurationError) as error:
            change = failed(order, error if isinstance(error, Unavailable) else str(error))
        if isinstance(change, Result):
            results[order.token] = change
        elif not change.modifies:
            results[order.token] = done(order, was_changed=False, id=id_of(change.entry))
        elif written and is_late():
            results[order.token] = not_begun(order)
        else:
            bounded_call.begin(order.token)
            if stopped := _write(connection, order, change):
                results[order.token] = stopped
            else:
                written[order.token] = change
    ids = {token: id_of(change.entry) for token, change in written.items()}
    after = by_ids([*ids.values()])
    for order in orders:
        if (change_made := written.get(order.token)) is not None:
            entry_id = ids[order.token]
            results[order.token] = _read_back(order, change_made, after[entry_id], entry_id)
    return [results[order.token] for order in orders]


def _write(connection: LdapConnection, order: Order, change: LdapChange) -> Result | None:
    """Write a change, one modify after the other; return a refusal or None."""
    for modify in change.modifies:
        code = connection.replace(change.entry.dn, modify, readded=change.added_again)
        if code == NO_SUCH_OBJECT:
            return refused(order, ABSENT)
        if code != SUCCESS:
            return failed(order, in_words(code))
    return None


def _read_back(order: Order, change: LdapChange, after: LdapEntry | None, entry_id: str) -> Result:
    if after is None:
        return refused(order, ABSENT)
    if not change.is_in_effect(after):
        return failed(order, NO_EFFECT)
    return done(order, was_changed=True, id=entry_id)
