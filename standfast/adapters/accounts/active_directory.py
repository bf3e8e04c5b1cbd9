"""Connector for Active Directory, of Microsoft or Samba.

A lock sets the bit ACCOUNTDISABLE of `userAccountControl` and, if configured, replaces the password
by a random password.

Rules
- The directory has no reliable compare-and-swap: it reported success for a change that required an
  outdated value. So the connector reads the value just before the change, sets or clears only this
  bit, and reads the result back.
- `reset_password` writes two random passwords, the second together with the bit. Domain controllers
  accept the previous password for an hour, and after two changes the holder's password is no longer
  the previous one. The plan warns approvers that this cannot be undone.
- A rotation (a new password for the holder) writes two passwords for the same reason: a random
  password, then the new one.
- Issued Kerberos tickets cannot be cleared, so there is no `revoke`.
- The prior state, which an undo restores, is the value of the bit. If an account was disabled
  before, neither its bit nor its password is changed.
- Built-in accounts (krbtgt, Administrator) are refused, and so are accounts over which the
  connector's own account has no rights. The look-up before a lock reports both obstacles.
"""

import re
import secrets
import uuid

from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.accounts.base.ldap_changes import Changes
from standfast.adapters.accounts.base.ldap_connector import OURS, LdapConnector
from standfast.adapters.accounts.base.results import proven
from standfast.adapters.clients.ldap.client import LdapConnection, LdapResult
from standfast.adapters.clients.ldap.entries import LdapEntry, folded, folded_dn
from standfast.config.sections.account_servers import ActiveDirectoryConfig
from standfast.errors import Unavailable
from standfast.records import JsonObject, Order, Proof, Result
from standfast.time_limit import BoundedCall

ACCOUNT_NAME = "sAMAccountName"
_CONTROL = "userAccountControl"
_DISABLED = 0x2  # ADS_UF_ACCOUNTDISABLE
_OF_THE_DOMAIN = re.compile(r"(,dc=[^,=]+)+$", re.IGNORECASE)
# Win32 error codes in hex of a refused sign-in ([MS-ERREF] 2.2): outside the hours, wrong
# workstation, password or account expired, disabled, password must be changed, locked out. A wrong
# password is 52e.
_REFUSED = re.compile(r"\bdata (530|531|532|533|701|773|775)\b")
_BUILT_IN = "built-in accounts are not locked. Ask a domain administrator to lock this account."
_NO_RIGHT = (
    "the connector's account may not disable this account: the account is outside the delegated "
    "units, or belongs to an administrator. Ask a domain administrator to lock it."
)


class ActiveDirectory(LdapConnector):
    """Connector of one domain."""

    proof = Proof.READ_BACK
    id_attribute = "objectGUID"
    attributes = (
        _CONTROL,
        ACCOUNT_NAME,
        "userPrincipalName",
        "isCriticalSystemObject",
        "allowedAttributesEffective",
    )

    def __init__(self, name: str, settings: ActiveDirectoryConfig, context: BuildContext) -> None:
        self._resets_password = settings.reset_password
        if settings.reset_password:
            self.irreversible = ("the password is replaced; the holder needs a new one",)
        super().__init__(name, settings, context)

    def _is_enabled(self, entry: LdapEntry) -> bool:
        return not _control(entry) & _DISABLED

    def _prior(self, entry: LdapEntry) -> JsonObject:
        return {"is_disabled": not self._is_enabled(entry)}

    def _to_lock(self, entry: LdapEntry) -> Changes:
        if not self._is_enabled(entry):
            return []
        disabled = {_CONTROL: (_number(_control(entry) | _DISABLED),)}
        if not self._resets_password:
            return [disabled]
        return [
            {"unicodePwd": (_encode_password(_password()),)},
            {**disabled, "unicodePwd": (_encode_password(_password()),)},
        ]

    def _to_rotate(self, entry: LdapEntry, secret: str) -> Changes:
        return [{"unicodePwd": (_encode_password(password),)} for password in (_password(), secret)]

    def _is_refused_otherwise(self, entry: LdapEntry, result: LdapResult) -> bool:
        return _REFUSED.search(result.text) is not None

    def _to_undo(self, entry: LdapEntry, prior: JsonObject) -> Changes | None:
        was_disabled = prior.get("is_disabled")
        if not isinstance(was_disabled, bool):
            return None
        if was_disabled is not self._is_enabled(entry):
            return []
        return [{_CONTROL: (_number(_control(entry) ^ _DISABLED),)}]

    def _obstacle(self, entry: LdapEntry) -> str:
        if self._is_own_account(entry):
            return OURS
        if entry.values("isCriticalSystemObject") == (b"TRUE",):
            return _BUILT_IN
        if _CONTROL not in entry.texts("allowedAttributesEffective"):
            return _NO_RIGHT
        return ""

    def _is_own_account(self, entry: LdapEntry) -> bool:
        r"""Return whether an entry is the connector's own account.

        The configured name may be a DN, a principal name or DOMAIN\name. Besides the principal name
        in its entry, an account has an implicit principal name: its account name, `@` and the name
        of the domain ([MS-ADTS] 5.1.1.1.1).
        """
        own_name = folded(self._server.bind_dn)
        account_names = entry.texts(ACCOUNT_NAME)
        implied = [f"{name}@{_domain(entry.dn)}" for name in account_names]
        return (
            folded_dn(entry.dn) == folded_dn(self._server.bind_dn)
            or any(
                folded(name) == own_name for name in (*entry.texts("userPrincipalName"), *implied)
            )
            or any(own_name.endswith("\\" + folded(name)) for name in account_names)
        )

    def _prove_locked(
        self, connection: LdapConnection, bounded_call: BoundedCall, order: Order, entry: LdapEntry
    ) -> Result:
        return proven(
            order, Proof.READ_BACK, "issued tickets and open connections are valid until they end"
        )

    def _id_text(self, value: bytes) -> str:
        return str(uuid.UUID(bytes_le=value))

    def _id_value(self, text: str) -> bytes:
        return uuid.UUID(text).bytes_le


def _domain(dn: str) -> str:
    """Return the name of an entry's domain, from the end of its DN."""
    end = _OF_THE_DOMAIN.search(dn)
    return end[0].lower().replace(",dc=", ".").removeprefix(".") if end else ""


def _control(entry: LdapEntry) -> int:
    for text in entry.texts(_CONTROL):
        return int(text)
    raise Unavailable(
        "the connector's account may not read userAccountControl. docs/accounts.md has its rights."
    )


def _number(value: int) -> bytes:
    return str(value).encode()


def _password() -> str:
    """Return a random password that satisfies every rule for passwords."""
    return f"{secrets.token_urlsafe(24)}aA1!"


def _encode_password(password: str) -> bytes:
    """Encode a password for `unicodePwd` ([MS-ADTS] 3.1.1.3.1.5.1)."""
    return f'"{password}"'.encode("utf-16-le")
