"""LDAP client (RFC 4511) on ldap3: sign-in, filters, pages, result codes.

The client connects, signs in, searches in pages, replaces attributes, and interprets result codes.
The connector decides which attribute gets which value.

Rules
- A name comes from a person: each of its bytes is escaped in a filter. A DN comes from the
  directory and is sent back unchanged.
- A password is never sent unencrypted, except to this machine. An empty password is refused:
  servers treat it as an anonymous sign-in and accept it (RFC 4513 5.1.2).
- Lists are read in pages (RFC 2696), so that a server's size limit truncates nothing. Referrals are
  not followed: the configuration alone decides which servers receive the connector's password.
- Errors contain a server's result code, never its text.
"""

import math
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from standfast.adapters.clients.connection_pool import Dialect
from standfast.adapters.clients.ldap.connection_errors import failure_of, unreachable, verified_tls
from standfast.adapters.clients.ldap.entries import LdapEntry
from standfast.errors import ConfigurationError, ExtraMissing, StandfastError, Unavailable
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import is_this_machine

LdapTls = Literal["ldaps", "starttls", "none"]
PAGE_SIZE = 500
_PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # noqa: S105 - the name of a control
_PAGED = "1.2.840.113556.1.4.319"  # RFC 2696

SUCCESS = 0
NO_SUCH_OBJECT = 32
INVALID_CREDENTIALS = 49
_IN_WORDS = {
    8: "the directory requires TLS. Set `tls`.",
    10: "this server refers to another server. Configure a server that accepts changes.",
    16: "the account lacks the attribute. Check the kind of the directory.",
    17: "the directory does not know the attribute. Load its password policy overlay.",
    19: "a rule of the directory forbids the change",
    NO_SUCH_OBJECT: "the search base does not exist, or the configured account may not read it",
    34: "the search base is not a DN. Correct `base`.",
    INVALID_CREDENTIALS: "the directory refuses the configured credential. Renew its password.",
    50: "the configured account lacks a right. docs/accounts.md lists all of them.",
    53: "the directory refuses the change. It may be read-only.",
    65: "the class of the account forbids the attribute. Load the password policy overlay.",
}
# operationsError, timeLimitExceeded, adminLimitExceeded, busy, unavailable, other
_WORTH_ANOTHER_TRY = (1, 3, 11, 51, 52, 80)


@dataclass(frozen=True, kw_only=True)
class LdapServer:
    """Directory: address, account of the connector, base and filter."""

    host: str
    bind_dn: str
    password: str = field(repr=False)
    base: str  # accounts are searched below it, at any depth
    port: int | None = None  # None: 636 for ldaps, else 389
    tls: LdapTls = "ldaps"
    ca_file: Path | None = None  # None: the certificate authorities of this machine
    attribute: str = "uid"  # contains the names that people write
    filter: str = "(objectClass=*)"  # matches the entries that are accounts

    @property
    def port_or_usual(self) -> int:
        return self.port or (636 if self.tls == "ldaps" else 389)


class LdapResult(Exception):
    """An unsuccessful result code.

    `text` is the server's own; it is examined and never shown.
    """

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(str(code))
        self.code = code
        self.text = text


class LdapConnection:
    """A connection that is signed in, for one thread at a time."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def search(
        self, base: str, filter_text: str, attributes: Sequence[str], *, is_one_entry: bool = False
    ) -> list[LdapEntry]:
        """Return each entry at or below `base` that matches the filter."""
        scope, page_size = ("BASE", None) if is_one_entry else ("SUBTREE", PAGE_SIZE)
        entries: list[LdapEntry] = []
        cookie: object = None
        while True:
            result = self._ask(
                "searchResDone",
                self._raw.search,
                *(_dn_bytes(base), filter_text, scope),
                attributes=list(attributes),
                paged_size=page_size,
                paged_cookie=cookie,
            )
            entries += [
                _entry(item) for item in self._raw.response if item["type"] == "searchResEntry"
            ]
            if result["result"] != SUCCESS:
                raise LdapResult(result["result"])
            cookie = (result.get("controls") or {}).get(_PAGED, {}).get("value", {}).get("cookie")
            if not cookie:
                return entries

    def find(
        self,
        base: str,
        attributes: Sequence[str],
        attribute: str,
        values: Sequence[bytes],
        *,
        among: str = "",
    ) -> list[LdapEntry]:
        """Return the entries with one of the values in `attribute`.

        The search starts at `base` and reads the requested `attributes`. With the filter `among`,
        only entries that match the filter are searched.
        """
        from ldap3.utils.conv import escape_bytes

        each = "".join(f"({attribute}={escape_bytes(value)})" for value in values)
        return self.search(base, f"(&{among}(|{each}))", attributes)

    def replace(
        self, dn: str, changes: Mapping[str, Sequence[bytes]], *, readded: Collection[str] = ()
    ) -> int:
        """Replace each attribute's values in one modify; return the result code.

        An empty list removes the attribute, and a missing attribute is not an error. The attributes
        in `readded` are removed and added instead: they must exist.
        """
        modifies = {
            name: [("MODIFY_DELETE", []), ("MODIFY_ADD", list(values))]
            if name in readded
            else [("MODIFY_REPLACE", list(values))]
            for name, values in changes.items()
        }
        result = self._ask("modifyResponse", self._raw.modify, _dn_bytes(dn), modifies)
        return int(result["result"])

    def _ask(
        self, kind: str, ask: Callable[..., object], *args: object, **options: object
    ) -> Mapping[str, Any]:
        """Send a request and return its result; raise for another kind of answer."""
        from ldap3.core.exceptions import LDAPException, LDAPSocketReceiveError

        try:
            ask(*args, **options)
            result: Mapping[str, Any] = self._raw.result
            if result["type"] == kind:
                return result
        except (OSError, LDAPException):
            raise
        except (
            Exception
        ) as error:  # ldap3 raises many kinds of error for an answer that is not LDAP
            raise LDAPSocketReceiveError("not LDAP") from error
        raise LDAPSocketReceiveError(f"not a {kind}")

    def close(self) -> None:
        _end(self._raw)

    def cut(self) -> None:
        """Close the socket from another thread."""
        if self._raw.socket is not None:
            self._raw.socket.shutdown(socket.SHUT_RDWR)


def dialect(server: LdapServer) -> Dialect[LdapConnection]:
    """Return the functions that open, close and explain such connections."""
    return Dialect(
        connect=lambda seconds: sign_in(server, seconds),
        disconnect=LdapConnection.close,
        cut=LdapConnection.cut,
        explain=lambda error: explained(error, server),
    )


def sign_in(server: LdapServer, seconds: float) -> LdapConnection:
    """Connect and sign in as the configured account; raise if refused."""
    raw = _connection(server, server.bind_dn, server.password, seconds)
    is_in = False
    try:
        _start(raw, server)
        is_in = raw.bind()
    finally:
        if not is_in:
            _end(raw)
    if not is_in:
        raise LdapResult(int(raw.result["result"]), str(raw.result["message"]))
    return LdapConnection(raw)


def is_reported_locked(server: LdapServer, dn: str, password: str, seconds: float) -> bool:
    """Try to sign in; return whether the server reports the account locked.

    The password policy control (draft-behera-ldap-password-policy-10, 6.2) requests this report. If
    the server reports nothing, the result is False. Raises if the sign-in succeeds.
    """
    raw = _connection(server, dn, password, seconds)
    try:
        _start(raw, server)
        if raw.bind(controls=[(_PASSWORD_POLICY, False, None)]):
            raise Unavailable("the directory accepted a wrong password")
        control = (raw.result.get("controls") or {}).get(_PASSWORD_POLICY) or {}
        return raw.result["result"] == INVALID_CREDENTIALS and _is_locked(control.get("value"))
    finally:
        _end(raw)


def _entry(found: Mapping[str, Any]) -> LdapEntry:
    return LdapEntry(
        dn=bytes(found["raw_dn"]).decode(errors="surrogateescape"),
        attributes={
            name.lower(): tuple(values) for name, values in found["raw_attributes"].items()
        },
    )


def _dn_bytes(dn: str) -> bytes:
    """Return the bytes of a DN as the directory sent them."""
    return dn.encode(errors="surrogateescape")


def in_words(code: int) -> Unavailable:
    """Return the error for a result code; a final error has no retry time."""
    if code in _WORTH_ANOTHER_TRY:
        return Unavailable(
            f"the directory failed temporarily (LDAP result {code})",
            retry_after_seconds=RETRY_SECONDS,
        )
    return Unavailable(
        _IN_WORDS.get(code, f"the directory refuses the request (LDAP result {code})")
    )


def _connection(server: LdapServer, dn: str, password: str, seconds: float) -> Any:
    if not password:
        raise ConfigurationError(
            "directory: the password is empty, so the sign-in would be anonymous. Set `password`."
        )
    if server.tls == "none" and not is_this_machine(server.host):
        raise ConfigurationError(
            "directory: a password would be sent unencrypted. Set `tls` to ldaps or starttls."
        )
    ldap3 = _library()
    is_ldaps = server.tls == "ldaps"
    place = ldap3.Server(
        server.host,
        port=server.port_or_usual,
        use_ssl=is_ldaps,
        tls=verified_tls(ldap3, server.host, server.ca_file) if server.tls != "none" else None,
        get_info=ldap3.NONE,
        connect_timeout=max(0.1, seconds),
    )
    return ldap3.Connection(
        place,
        user=dn,
        password=password,
        authentication=ldap3.SIMPLE,
        client_strategy=ldap3.SYNC,
        receive_timeout=max(1, math.ceil(seconds)),  # ends an abandoned thread too
        check_names=False,
        auto_referrals=False,
        auto_bind=ldap3.AUTO_BIND_NONE,
        raise_exceptions=False,
        return_empty_attributes=False,
    )


def _end(raw: Any) -> None:
    """Unbind and close the socket.

    ldap3 leaves the socket open if it cannot send the unbind request.
    """
    socket_then = raw.socket
    try:
        raw.unbind()
    finally:
        for socket in (socket_then, raw.socket):
            if socket is not None:
                socket.close()


def _start(raw: Any, server: LdapServer) -> None:
    try:
        raw.open(read_server_info=False)
        has_begun = server.tls != "starttls" or raw.start_tls(read_server_info=False)
    except Exception as error:
        raise error from failure_of(raw.server.tls)
    if not has_begun:
        raise LdapResult(int(raw.result["result"]))


def _library() -> Any:
    try:
        import ldap3
    except ImportError:
        raise ExtraMissing(
            "the LDAP client is not installed. Run `pip install -r requirements/extras/ldap.txt`."
        ) from None
    return ldap3


def _is_locked(value: object) -> bool:
    """Return whether error [1] of the policy response is accountLocked (1).

    `value` is a PasswordPolicyResponseValue.
    """
    return isinstance(value, bytes) and value.endswith(b"\x81\x01\x01")


def explained(error: Exception, server: LdapServer) -> StandfastError | None:
    """Return the error to show for an error of a call; None if unexpected."""
    if isinstance(error, LdapResult):
        return in_words(error.code)
    if type(error).__module__.startswith("ldap3.") or isinstance(error, OSError):
        return unreachable(error, server.host, server.port_or_usual)
    return None
