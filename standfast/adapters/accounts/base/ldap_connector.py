"""Base class of connectors for LDAP: finds, locks, proves, reads back.

The class finds entries, changes them and reads them back. A subclass defines which attributes
contain the lock, and their meaning.

Rules
- The prior state, which an undo restores, contains the id of the account's entry. An account is
  found by name, and changed or proven only if its entry has this id. An undo finds it by the id.
- An account is locked by its own name only, because other code compares accounts by this name. An
  entry may have several names, and a matching rule may ignore more than case. An entry's own name
  is the name in its DN, or else the first name that the directory returns.
- LDAP cannot end the connections of another account, so there is no `revoke`.
- One call processes many accounts over several connections. The accounts are looked up and read
  back by few searches, and changed one after the other. After a failure, only the outcomes of
  changes that were begun are unknown.
- A change of the connector's own account is refused: the connector would lock itself out.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.ldap_changes import Changes, LdapChange, change_each
from standfast.adapters.accounts.base.ldap_entry_lookup import (
    Found,
    Search,
    by_ids,
    by_names,
    entry_or_raise,
)
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import PooledConnector, not_begun
from standfast.adapters.accounts.base.results import (
    ABSENT,
    ANOTHER_NAME,
    PRIOR_UNKNOWN,
    SOMEONE_ELSE,
    failed,
    refused,
)
from standfast.adapters.clients.ldap.client import (
    LdapConnection,
    LdapResult,
    LdapServer,
    dialect,
    in_words,
    sign_in,
)
from standfast.adapters.clients.ldap.entries import LdapEntry, folded, folded_dn, own_name
from standfast.config.sections.account_servers import ActiveDirectoryConfig, OpenldapDirectoryConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, JsonObject, Order, Proof, Result
from standfast.secrets import Reveal
from standfast.time_limit import BoundedCall

LdapAccountsConfig = OpenldapDirectoryConfig | ActiveDirectoryConfig
_EACH = 32  # accounts for each connection in a call
_MOST_A_CALL = 1000  # the limit of `Limits.batch`
_TURNED_AWAY = (
    "the directory reported success, but refuses the new password. Try both passwords, and "
    "rotate again if the old password is valid. The new password is sealed in"
)
OURS = "the connector signs in with this account and would lock itself out. Lock it by hand."


def server_of(settings: LdapAccountsConfig, reveal: Reveal) -> LdapServer:
    """Return the address and account of an LDAP directory."""
    return LdapServer(
        host=settings.host,
        port=settings.port,
        tls=settings.tls,
        ca_file=settings.ca_file,
        bind_dn=settings.bind_dn,
        password=reveal(settings.password),
        base=settings.base,
        attribute=settings.attribute,
        filter=settings.filter,
    )


class LdapConnector(PooledConnector[LdapConnection]):
    """Connector of one directory; a subclass defines the attributes."""

    identity = ("id",)
    verbs = frozenset({"lock", "prove", "undo"})
    id_attribute: str  # permanent id of an entry
    attributes: tuple[str, ...]  # further attributes to read
    cleared_by_password: tuple[str, ...] = ()  # attributes that a new password removes

    rotates = True

    def __init__(self, name: str, settings: LdapAccountsConfig, context: BuildContext) -> None:
        server = server_of(settings, context.reveal)
        limits = limits_of(settings)
        self._server = server
        self._connections = limits.workers
        super().__init__(
            name,
            # One call uses all connections: two concurrent calls would wait for each other.
            replace(limits, batch=min(_EACH * limits.workers, _MOST_A_CALL), workers=1),
            dialect(server),
            context.new_secrets,
            connections=limits.workers,
        )

    def canonical(self, name: str) -> str:
        return folded(name)

    # Methods of a subclass.

    @abstractmethod
    def _is_enabled(self, entry: LdapEntry) -> bool: ...

    @abstractmethod
    def _prior(self, entry: LdapEntry) -> JsonObject:
        """Return the prior state without the id."""

    @abstractmethod
    def _to_lock(self, entry: LdapEntry) -> Changes:
        """Return the changes of a lock; empty if the entry is locked."""

    @abstractmethod
    def _to_undo(self, entry: LdapEntry, prior: JsonObject) -> Changes | None:
        """Return the changes of an undo; None if the prior state is incomplete."""

    @abstractmethod
    def _to_rotate(self, entry: LdapEntry, secret: str) -> Changes:
        """Return the changes that set a password and preserve a lock."""

    @abstractmethod
    def _prove_locked(
        self, connection: LdapConnection, bounded_call: BoundedCall, order: Order, entry: LdapEntry
    ) -> Result:
        """Prove the lock of an entry that its attributes show as locked."""

    @abstractmethod
    def _is_refused_otherwise(self, entry: LdapEntry, result: LdapResult) -> bool:
        """Return whether a sign-in failed for a reason other than its password."""

    def _obstacle(self, entry: LdapEntry) -> str:
        """Return why a lock of this entry is refused; empty if it is not."""
        return OURS if folded_dn(entry.dn) == folded_dn(self._server.bind_dn) else ""

    def _live_sessions(self, connection: LdapConnection, entry: LdapEntry) -> int | None:
        """Count the holder's connections; None if the directory hides them."""
        return None

    # Methods for all kinds of directory.

    def _look_on(self, connection: LdapConnection, names: Sequence[str]) -> list[AccountState]:
        found = self._by_names(connection, names)
        errors: list[Unavailable] = []

        def look(name: str) -> AccountState:
            try:
                return self._state(connection, name, entry_or_raise(found[name]))
            except Unavailable as error:  # the other accounts are still read
                errors.append(error)
                return AccountState(name=name, exists=False, reason=str(error))

        states = [look(name) for name in names]
        if errors and len(errors) == len(states):
            raise errors[0]
        return states

    def _shortcomings_on(self, connection: LdapConnection) -> list[str]:
        """Read every account in scope; count those that cannot be locked."""
        server = self._server
        wanted = [server.attribute, self.id_attribute, *self.attributes]
        found = connection.search(server.base, server.filter, wanted)
        accounts = [entry for entry in found if entry.values(server.attribute)]
        if not accounts:
            return [
                (
                    "no account is visible below `base`. Check `base`, `filter` and the rights of "
                    "`bind_dn`."
                )
            ]
        if not accounts[0].values(self.id_attribute):
            return [
                (
                    f"the connector's account may not read {self.id_attribute}. docs/accounts.md "
                    "lists its rights."
                )
            ]
        lacking = Counter(why for entry in accounts if (why := self._obstacle(entry)))
        return [
            f"{count} of {len(accounts)} accounts cannot be locked: {why}"
            for why, count in lacking.items()
            if why != OURS
        ]

    def _lock_on(
        self, connection: LdapConnection, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        found = self._by_names(connection, [order.target for order in orders])

        def decide(order: Order) -> Result | LdapChange:
            entry = entry_or_raise(found[order.target])
            if (stopped := self._stop(entry, order)) or entry is None:
                return refused(order, stopped)
            return LdapChange(
                entry=entry,
                modifies=self._to_lock(entry),
                is_in_effect=lambda after: not self._is_enabled(after),
            )

        return self._change_each(connection, bounded_call, orders, decide)

    def _prove_on(
        self, connection: LdapConnection, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        found = self._by_names(connection, [order.target for order in orders])

        def prove(order: Order) -> Result:
            if order is not orders[0] and self._is_late(bounded_call):
                return not_begun(order)
            try:
                entry = entry_or_raise(found[order.target])
                if entry is None:
                    return refused(order, ABSENT)
                if self._is_someone_else(entry, order):
                    return refused(order, SOMEONE_ELSE)
                if self._is_enabled(entry):
                    return failed(order, "the account is not locked. Lock it again.")
                return self._prove_locked(connection, bounded_call, order, entry)
            except Unavailable as error:
                return failed(order, error)
            except LdapResult as result:
                return failed(order, in_words(result.code))

        return [prove(order) for order in orders]

    def _undo_on(
        self, connection: LdapConnection, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        known = {
            order.token: entry_id
            for order in orders
            if isinstance(entry_id := (order.prior or {}).get("id"), str)
        }
        found = self._by_ids(connection, [*known.values()])

        def decide(order: Order) -> Result | LdapChange:
            prior = order.prior or {}
            if order.token not in known:
                return refused(order, PRIOR_UNKNOWN)
            entry = found.get(known[order.token])
            if entry is None:
                return refused(order, ABSENT)
            modifies = self._to_undo(entry, prior)
            if modifies is None:
                return refused(order, PRIOR_UNKNOWN)
            return LdapChange(
                entry=entry,
                modifies=modifies,
                is_in_effect=lambda after: not self._to_undo(after, prior),
            )

        return self._change_each(connection, bounded_call, orders, decide)

    def _rotate(self, orders: Sequence[Order]) -> list[Result]:
        # One at a time: each new password is tested with a connection of its own.
        return self._carry_out(self._rotate_on, orders, most=1)

    def _rotate_on(
        self, connection: LdapConnection, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        found = self._by_names(connection, [order.target for order in orders])
        entries = {name: entry_or_raise(entry) for name, entry in found.items()}

        def give(order: Order, new: NewPassword) -> Result:
            return self._rotate_one(connection, bounded_call, order, entries[order.target], new)

        return self._rotate_each(
            bounded_call, orders, lambda order: self._stop(entries[order.target], order), give
        )

    def _rotate_one(
        self,
        connection: LdapConnection,
        bounded_call: BoundedCall,
        order: Order,
        entry: LdapEntry | None,
        new: NewPassword,
    ) -> Result:
        if entry is None:
            return refused(order, ABSENT)
        before = self._prior(entry)
        change = LdapChange(
            entry=entry,
            modifies=self._to_rotate(entry, new.secret),
            is_in_effect=lambda after: self._prior(after) == before,
            added_again=self.cleared_by_password,
        )
        (written,) = self._change_each(connection, bounded_call, [order], lambda _: change)
        if written.state is not EffectState.DONE:
            return written
        if not self._is_enabled(entry):
            return rotated(order, new)  # a locked account cannot sign in to test it
        seconds = bounded_call.deadline.left_seconds()
        try:
            sign_in(replace(self._server, bind_dn=entry.dn, password=new.secret), seconds).close()
        except LdapResult as result:
            if self._is_refused_otherwise(entry, result):
                return rotated(order, new)
            return failed(order, f"{_TURNED_AWAY} {new.place}")
        return rotated(order, new, Proof.READ_BACK)

    def _state(
        self, connection: LdapConnection, name: str, entry: LdapEntry | None
    ) -> AccountState:
        if entry is None:
            return AccountState(name=name, exists=False)
        return AccountState(
            name=name,
            exists=True,
            is_enabled=self._is_enabled(entry),
            live_sessions=self._live_sessions(connection, entry),
            prior={"id": self._id(entry), **self._prior(entry)},
            obstacle=self._alias(entry, name) or self._obstacle(entry),
        )

    def _stop(self, entry: LdapEntry | None, order: Order) -> str:
        """Return why an order (a change) is not executed; empty if it is."""
        if entry is None:
            return ABSENT
        if self._is_someone_else(entry, order):
            return SOMEONE_ELSE
        return self._alias(entry, order.target) or self._obstacle(entry)

    def _is_someone_else(self, entry: LdapEntry, order: Order) -> bool:
        known = (order.prior or {}).get("id")
        return isinstance(known, str) and known != self._id(entry)

    def _change_each(
        self,
        connection: LdapConnection,
        bounded_call: BoundedCall,
        orders: Sequence[Order],
        decide: Callable[[Order], Result | LdapChange],
    ) -> list[Result]:
        return change_each(
            connection,
            bounded_call,
            orders,
            decide,
            is_late=lambda: self._is_late(bounded_call),
            id_of=self._id,
            by_ids=lambda ids: self._by_ids(connection, ids),
        )

    def _is_late(self, bounded_call: BoundedCall) -> bool:
        """Return whether no time remains to begin a further change."""
        return bounded_call.deadline.left_seconds() < self.limits.timeout_seconds / 3

    def _parts_of(self, count: int) -> tuple[int, int]:
        return max(1, -(-count // self._connections)), self._connections

    def _by_names(self, connection: LdapConnection, names: Sequence[str]) -> dict[str, Found]:
        server = self._server
        return by_names(self._search(connection, server.filter), server.attribute, names)

    def _by_ids(
        self, connection: LdapConnection, ids: Sequence[str]
    ) -> dict[str, LdapEntry | None]:
        """Return the entries of these ids; an invalid id has none."""
        values: dict[str, bytes] = {}
        for entry_id in ids:
            with suppress(ValueError):
                values[entry_id] = self._id_value(entry_id)
        return by_ids(self._search(connection), self.id_attribute, values)

    def _search(self, connection: LdapConnection, among: str = "") -> Search:
        wanted = [self._server.attribute, self.id_attribute, *self.attributes]
        return partial(connection.find, self._server.base, wanted, among=among)

    def _alias(self, entry: LdapEntry, name: str) -> str:
        """Return a reason if the name is an alias of the account; else empty."""
        own = own_name(entry, self._server.attribute)
        return "" if folded(own) == folded(name) else ANOTHER_NAME

    def _id(self, entry: LdapEntry) -> str:
        for value in entry.values(self.id_attribute):
            return self._id_text(value)
        raise ConfigurationError(
            f"the connector's account may not read {self.id_attribute}. docs/accounts.md lists its "
            "rights."
        )

    def _id_text(self, value: bytes) -> str:
        return value.decode(errors="replace")

    def _id_value(self, text: str) -> bytes:
        return text.encode()
