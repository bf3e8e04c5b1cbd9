"""Connector for OpenLDAP with the password policy overlay (slapo-ppolicy).

A lock writes the value 000001010000Z to the attribute `pwdAccountLockedTime`. It means: locked
until an administrator unlocks the account (draft behera-ldap-password-policy-10, 5.3.3).

Rules
- A later password reset clears the lock, so the lock must be proven again after a reset.
- A lock ends no open connection. With the setting `monitor`, the account's open connections to the
  directory are counted, and the proof of a lock fails while one is open. The directory does not
  show sessions of applications, so the proof level is `connections_gone`.
- An undo writes exactly the values from before the lock: a temporary lock after failed sign-ins is
  restored with its start time.
- Only the hash of a new password leaves this host, so that the server never stores or logs the
  password unencrypted. The same modify operation writes the lock again, because a new password
  clears it.
- A proof also tests the server: for a wrong password it must report "account locked". A policy
  without pwdLockout ignores the lock silently, and this test detects it.
"""

import hashlib
import secrets
from base64 import b64encode

from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.ldap_changes import Changes
from standfast.adapters.accounts.base.ldap_connector import LdapConnector
from standfast.adapters.accounts.base.results import failed, proven
from standfast.adapters.clients.ldap.client import LdapConnection, LdapResult, is_reported_locked
from standfast.adapters.clients.ldap.entries import LdapEntry
from standfast.config.sections.account_servers import OpenldapDirectoryConfig
from standfast.records import JsonObject, Order, Proof, Result
from standfast.time_limit import BoundedCall

_LOCKED_TIME = "pwdAccountLockedTime"
_FOR_GOOD = b"000001010000Z"
_CONNECTIONS = "cn=Connections,cn=Monitor"


class OpenldapConnector(LdapConnector):
    """Connector of one directory."""

    id_attribute = "entryUUID"
    attributes = (_LOCKED_TIME,)
    cleared_by_password = (_LOCKED_TIME,)

    def __init__(self, name: str, settings: OpenldapDirectoryConfig, context: BuildContext) -> None:
        self._is_monitored = settings.monitor
        self.proof = Proof.CONNECTIONS_GONE if settings.monitor else Proof.READ_BACK
        super().__init__(name, settings, context)

    def _is_enabled(self, entry: LdapEntry) -> bool:
        # A lock after failed sign-ins has its start time as value, and ends by itself.
        return _FOR_GOOD not in entry.values(_LOCKED_TIME)

    def _prior(self, entry: LdapEntry) -> JsonObject:
        return {"locked": entry.texts(_LOCKED_TIME)}

    def _to_lock(self, entry: LdapEntry) -> Changes:
        return [{_LOCKED_TIME: (_FOR_GOOD,)}] if self._is_enabled(entry) else []

    def _to_undo(self, entry: LdapEntry, prior: JsonObject) -> Changes | None:
        locked = prior.get("locked")
        if not isinstance(locked, list | tuple):
            return None
        values = tuple(str(value).encode() for value in locked)
        return [] if entry.values(_LOCKED_TIME) == values else [{_LOCKED_TIME: values}]

    def _to_rotate(self, entry: LdapEntry, secret: str) -> Changes:
        # A new password clears the lock (draft, 5.3.3), unless this modify removes and re-adds it.
        locked = entry.values(_LOCKED_TIME)
        lock = {_LOCKED_TIME: locked} if locked else {}
        return [{"userPassword": (_hash(secret),), **lock}]

    def _is_refused_otherwise(self, entry: LdapEntry, result: LdapResult) -> bool:
        # The rotation kept a lock after failed sign-ins, which refuses the new password too.
        return bool(entry.values(_LOCKED_TIME))

    def _live_sessions(self, connection: LdapConnection, entry: LdapEntry) -> int | None:
        if not self._is_monitored:
            return None
        dn = entry.dn.encode(errors="surrogateescape")
        return len(connection.find(_CONNECTIONS, ["cn"], "monitorConnectionAuthzDN", [dn]))

    def _shortcomings_on(self, connection: LdapConnection) -> list[str]:
        lacking = super()._shortcomings_on(connection)
        if self._is_monitored:
            try:
                connection.search(_CONNECTIONS, "(objectClass=*)", ["cn"], is_one_entry=True)
            except LdapResult:
                lacking.append(
                    "`monitor` is on, and the connector's account may not read cn=Monitor"
                )
        return lacking

    def _prove_locked(
        self, connection: LdapConnection, bounded_call: BoundedCall, order: Order, entry: LdapEntry
    ) -> Result:
        if self._live_sessions(connection, entry):
            return failed(
                order,
                "the account is locked, but a connection is still open. End it at its client, or "
                "by the directory (idle time-out, restart).",
            )
        seconds = bounded_call.deadline.left_seconds()
        if not is_reported_locked(self._server, entry.dn, secrets.token_hex(16), seconds):
            return proven(
                order,
                Proof.READ_BACK,
                "the directory does not report that it refuses a sign-in because of the lock. "
                "Check pwdLockout TRUE in the policy, and ppolicy_use_lockout.",
            )
        return proven(order, self.proof)


def _hash(secret: str) -> bytes:
    """Hash a password by the salted scheme of every slapd (RFC 2307, {SSHA}).

    The hash is fast to compute, which does not weaken a random password of this length.
    """
    salt = secrets.token_bytes(16)
    hashed = hashlib.sha1(secret.encode() + salt).digest()  # noqa: S324 - the server's scheme
    return b"{SSHA}" + b64encode(hashed + salt)
