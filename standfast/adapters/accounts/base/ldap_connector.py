"""What every LDAP directory's connector shares: finding an entry, changing it, reading it back.

It owns the order of steps and what is made of each answer. A subclass says which attributes hold
the lock, and how they read.

Rules
- Somebody is found by name, and changed or proven shut only while the entry's id is still the one
  that the prior state was kept of. An undo goes by the id alone.
- An account is locked by its own name alone: an entry may have several, and a matching rule may let
  more through than case. Its own is the one in its DN, else the first that the directory gives.
- Nothing is written unless something differs. What the directory says it did is not
  believed: it is read back, and a success without effect is FAILED.
- LDAP ends nobody's connection, so there is no `revoke`.
- A call carries many accounts, over several connections: they are looked up and read back by few
  searches, and changed one after the other. What breaks leaves those in doubt that were begun.
- The account that we sign in with is refused: it would lock itself out.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.ldap_entry_lookup import (
    Found,
    Search,
    by_ids,
    by_names,
    clear,
)
from standfast.adapters.accounts.base.new_passwords import NewPassword, rotated
from standfast.adapters.accounts.base.pooled_connector import PooledConnector, not_begun
from standfast.adapters.accounts.base.results import (
    ABSENT,
    ANOTHER_NAME,
    NO_EFFECT,
    PRIOR_UNKNOWN,
    SOMEONE_ELSE,
    done,
    failed,
    refused,
)
from standfast.adapters.clients.connection_pool import BoundedCall
from standfast.adapters.clients.ldap.client import (
    NO_SUCH_OBJECT,
    SUCCESS,
    LdapConnection,
    LdapEntry,
    LdapResult,
    LdapServer,
    dialect,
    folded,
    folded_dn,
    in_words,
    own_name,
    sign_in,
)
from standfast.config.sections.account_servers import (
    ActiveDirectoryConfig,
    OpenldapDirectoryConfig,
)
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, JsonObject, Order, Proof, Result
from standfast.secrets import Reveal

LdapAccountsConfig = OpenldapDirectoryConfig | ActiveDirectoryConfig
# What is to be written, one modify after the other; each says which values replace what is there.
Changes = Sequence[Mapping[str, Sequence[bytes]]]
_EACH = 32  # accounts that one connection carries in a call
_MOST_A_CALL = 1000  # as `Limits` has it
_TURNED_AWAY = (
    "the directory answered success, and lets nobody in with the new password; try both, and "
    "rotate again if it is still the old one. The new one is sealed in"
)
OURS = "this is the account that locks the others; it would lock itself out"


@dataclass(frozen=True, kw_only=True)
class _Change:
    """What is to be written into one entry, and how it reads once it stands."""

    entry: LdapEntry
    modifies: Changes
    stands: Callable[[LdapEntry], bool]
    anew: Collection[str] = ()


def server_of(settings: LdapAccountsConfig, reveal: Reveal) -> LdapServer:
    """Return how an LDAP directory is reached."""
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
    """One directory; a subclass knows its kind."""

    identity = ("id",)
    verbs = frozenset({"lock", "prove", "undo"})
    id_attribute: str  # names an entry for good
    attributes: tuple[str, ...]  # what is read besides
    cleared_by_password: tuple[str, ...] = ()  # by a new one, unless the modify sets them anew

    rotates = True

    def __init__(self, name: str, settings: LdapAccountsConfig, context: BuildContext) -> None:
        server = server_of(settings, context.reveal)
        limits = limits_of(settings)
        self._server = server
        self._connections = limits.workers
        super().__init__(
            name,
            # One call over all connections: two that share them wait for each other more than one
            # gains while the other is written down.
            replace(limits, batch=min(_EACH * limits.workers, _MOST_A_CALL), workers=1),
            dialect(server),
            context.new_secrets,
            connections=limits.workers,
        )

    def canonical(self, name: str) -> str:
        return folded(name)

    # What a kind says.

    @abstractmethod
    def _is_enabled(self, entry: LdapEntry) -> bool: ...

    @abstractmethod
    def _prior(self, entry: LdapEntry) -> JsonObject:
        """Give what an undo needs besides the id."""

    @abstractmethod
    def _to_lock(self, entry: LdapEntry) -> Changes:
        """Give what a lock writes; nothing when it stands."""

    @abstractmethod
    def _to_undo(self, entry: LdapEntry, prior: JsonObject) -> Changes | None:
        """Give what an undo writes; None when the prior state does not tell."""

    @abstractmethod
    def _to_rotate(self, entry: LdapEntry, secret: str) -> Changes:
        """Give what makes this the password and leaves a lock as it is."""

    @abstractmethod
    def _prove_locked(
        self, connection: LdapConnection, errand: BoundedCall, order: Order, entry: LdapEntry
    ) -> Result:
        """Prove it of an entry that reads as locked."""

    @abstractmethod
    def _is_shut_otherwise(self, entry: LdapEntry, result: LdapResult) -> bool:
        """Tell of an open account that it was turned away for another reason than its password."""

    def _obstacle(self, entry: LdapEntry) -> str:
        """Say why a lock of this entry is refused; empty when it is not."""
        return OURS if folded_dn(entry.dn) == folded_dn(self._server.bind_dn) else ""

    def _live_sessions(self, connection: LdapConnection, entry: LdapEntry) -> int | None:
        """Count what the holder has open; None when the directory does not tell."""
        return None

    # The same for all.

    def _look_on(self, connection: LdapConnection, names: Sequence[str]) -> list[AccountState]:
        found = self._by_names(connection, names)
        errors: list[Unavailable] = []

        def look(name: str) -> AccountState:
            try:
                return self._state(connection, name, clear(found[name]))
            except Unavailable as error:  # of this one: it keeps nobody from the others
                errors.append(error)
                return AccountState(name=name, exists=False, reason=str(error))

        states = [look(name) for name in names]
        if errors and len(errors) == len(states):
            raise errors[0]
        return states

    def _shortcomings_on(self, connection: LdapConnection) -> list[str]:
        """Read every account that may be asked for, and count those that are not ours to lock."""
        server = self._server
        wanted = [server.attribute, self.id_attribute, *self.attributes]
        found = connection.search(server.base, server.filter, wanted)
        accounts = [entry for entry in found if entry.values(server.attribute)]
        if not accounts:
            return ["no account is seen below `base`; mend it, `filter`, `attribute` or our rights"]
        if not accounts[0].values(self.id_attribute):
            return [
                f"our account may not read {self.id_attribute}; docs/accounts.md has its rights"
            ]
        lacking = Counter(why for entry in accounts if (why := self._obstacle(entry)))
        return [
            f"{count} of {len(accounts)} accounts cannot be locked: {why}"
            for why, count in lacking.items()
            if why != OURS
        ]

    def _lock_on(
        self, connection: LdapConnection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        found = self._by_names(connection, [order.target for order in orders])

        def decide(order: Order) -> Result | _Change:
            entry = clear(found[order.target])
            if (stopped := self._stop(entry, order)) or entry is None:
                return refused(order, stopped)
            return _Change(
                entry=entry,
                modifies=self._to_lock(entry),
                stands=lambda after: not self._is_enabled(after),
            )

        return self._change_each(connection, errand, orders, decide)

    def _prove_on(
        self, connection: LdapConnection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        found = self._by_names(connection, [order.target for order in orders])

        def prove(order: Order) -> Result:
            if order is not orders[0] and self._is_late(errand):
                return not_begun(order)
            try:
                entry = clear(found[order.target])
                if entry is None:
                    return refused(order, ABSENT)
                if self._is_someone_else(entry, order):
                    return refused(order, SOMEONE_ELSE)
                if self._is_enabled(entry):
                    return failed(order, "the account is not locked; lock it again")
                return self._prove_locked(connection, errand, order, entry)
            except Unavailable as error:
                return failed(order, error)
            except LdapResult as result:
                return failed(order, in_words(result.code))

        return [prove(order) for order in orders]

    def _undo_on(
        self, connection: LdapConnection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        known = {
            order.token: entry_id
            for order in orders
            if isinstance(entry_id := (order.prior or {}).get("id"), str)
        }
        found = self._by_ids(connection, [*known.values()])

        def decide(order: Order) -> Result | _Change:
            prior = order.prior or {}
            if order.token not in known:
                return refused(order, PRIOR_UNKNOWN)
            entry = found.get(known[order.token])
            if entry is None:
                return refused(order, ABSENT)
            modifies = self._to_undo(entry, prior)
            if modifies is None:
                return refused(order, PRIOR_UNKNOWN)
            return _Change(
                entry=entry,
                modifies=modifies,
                stands=lambda after: not self._to_undo(after, prior),
            )

        return self._change_each(connection, errand, orders, decide)

    def _rotate(self, orders: Sequence[Order]) -> list[Result]:
        # One at a time: each is tried with a connection of its own.
        return self._carry_out(self._rotate_on, orders, most=1)

    def _rotate_on(
        self, connection: LdapConnection, errand: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        found = self._by_names(connection, [order.target for order in orders])
        entries = {name: clear(one) for name, one in found.items()}

        def give(order: Order, new: NewPassword) -> Result:
            return self._rotate_one(connection, errand, order, entries[order.target], new)

        return self._rotate_each(
            errand, orders, lambda order: self._stop(entries[order.target], order), give
        )

    def _rotate_one(
        self,
        connection: LdapConnection,
        errand: BoundedCall,
        order: Order,
        entry: LdapEntry | None,
        new: NewPassword,
    ) -> Result:
        if entry is None:
            return refused(order, ABSENT)
        before = self._prior(entry)
        change = _Change(
            entry=entry,
            modifies=self._to_rotate(entry, new.secret),
            stands=lambda after: self._prior(after) == before,
            anew=self.cleared_by_password,
        )
        (written,) = self._change_each(connection, errand, [order], lambda _: change)
        if written.state is not EffectState.DONE:
            return written
        if not self._is_enabled(entry):
            return rotated(order, new)  # nobody could sign in to try it
        seconds = errand.deadline.left_seconds()
        try:
            sign_in(replace(self._server, bind_dn=entry.dn, password=new.secret), seconds).close()
        except LdapResult as result:
            if self._is_shut_otherwise(entry, result):
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
        """Say why this order is not carried out; empty when it is."""
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
        errand: BoundedCall,
        orders: Sequence[Order],
        decide: Callable[[Order], "Result | _Change"],
    ) -> list[Result]:
        """Write what differs, one account after the other, and believe only what is read back.

        What there is no time for is left, so that what was written can still be read back.
        """
        results: dict[str, Result] = {}
        written: dict[str, _Change] = {}
        for order in orders:
            try:
                change = decide(order)
            except (Unavailable, ConfigurationError) as error:
                change = failed(order, error if isinstance(error, Unavailable) else str(error))
            if isinstance(change, Result):
                results[order.token] = change
            elif not change.modifies:
                results[order.token] = done(order, was_changed=False, id=self._id(change.entry))
            elif written and self._is_late(errand):
                results[order.token] = not_begun(order)
            else:
                errand.begin(order.token)
                if stopped := _write(connection, order, change):
                    results[order.token] = stopped
                else:
                    written[order.token] = change
        ids = {token: self._id(change.entry) for token, change in written.items()}
        after = self._by_ids(connection, [*ids.values()])
        for order in orders:
            if (wrote := written.get(order.token)) is not None:
                results[order.token] = self._read_back(order, wrote, after[ids[order.token]])
        return [results[order.token] for order in orders]

    def _read_back(self, order: Order, change: "_Change", after: LdapEntry | None) -> Result:
        if after is None:
            return refused(order, ABSENT)
        if not change.stands(after):
            return failed(order, NO_EFFECT)
        return done(order, was_changed=True, id=self._id(change.entry))

    def _is_late(self, errand: BoundedCall) -> bool:
        """Is what is left of the call's time needed for what was begun?"""
        return errand.deadline.left_seconds() < self.limits.timeout_seconds / 3

    def _parts_of(self, count: int) -> tuple[int, int]:
        return max(1, -(-count // self._connections)), self._connections

    def _by_names(self, connection: LdapConnection, names: Sequence[str]) -> dict[str, Found]:
        server = self._server
        return by_names(self._search(connection, server.filter), server.attribute, names)

    def _by_ids(
        self, connection: LdapConnection, ids: Sequence[str]
    ) -> dict[str, LdapEntry | None]:
        """Give the entries of these ids; what is no id has none."""
        values: dict[str, bytes] = {}
        for entry_id in ids:
            with suppress(ValueError):
                values[entry_id] = self._id_value(entry_id)
        return by_ids(self._search(connection), self.id_attribute, values)

    def _search(self, connection: LdapConnection, among: str = "") -> Search:
        wanted = [self._server.attribute, self.id_attribute, *self.attributes]
        return partial(connection.find, self._server.base, wanted, among=among)

    def _alias(self, entry: LdapEntry, name: str) -> str:
        """Say that this is not the account's own name; nothing when it is."""
        own = own_name(entry, self._server.attribute)
        return "" if folded(own) == folded(name) else ANOTHER_NAME

    def _id(self, entry: LdapEntry) -> str:
        for value in entry.values(self.id_attribute):
            return self._id_text(value)
        raise ConfigurationError(
            f"our account may not read {self.id_attribute}; docs/accounts.md has all its rights"
        )

    def _id_text(self, value: bytes) -> str:
        return value.decode(errors="replace")

    def _id_value(self, text: str) -> bytes:
        return text.encode()


def _write(connection: LdapConnection, order: Order, change: _Change) -> Result | None:
    """Write it, one modify after the other; give what the directory said against it."""
    for modify in change.modifies:
        code = connection.replace(change.entry.dn, modify, anew=change.anew)
        if code == NO_SUCH_OBJECT:
            return refused(order, ABSENT)
        if code != SUCCESS:
            return failed(order, in_words(code))
    return None
