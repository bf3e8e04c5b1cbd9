"""Errors of a connection to a directory, with host, port and cause.

ldap3 hides the cause of a failed TLS handshake; `verified_tls` preserves it. An error includes the
reason for which Python's TLS refused a certificate. It never includes text of the server.
"""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from standfast.errors import Unavailable
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import verified

_UNKNOWN_NAME = "invalid server address"  # ldap3's whole message for a name without an address
_SPEAKS_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING")


def verified_tls(ldap3: Any, host: str, ca_file: Path | None) -> Any:
    """Return ldap3's TLS class with Python's verification of certificates.

    Python verifies the chain and the name of the host. ldap3's own verification dates from 2013.
    """
    context = verified(ca_file)

    class Tls(ldap3.Tls):  # type: ignore[misc]  # ldap3 has no types
        """TLS of ldap3 that stores the failure of a handshake."""

        failure: Exception | None = None  # ldap3 raises a copy, without the reason of OpenSSL

        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            try:
                connection.socket = context.wrap_socket(connection.socket, server_hostname=host)
            except OSError as error:
                self.failure = error
                raise

    return Tls(validate=ssl.CERT_REQUIRED)


def failure_of(tls: Any) -> Exception | None:
    """Return the handshake failure that `verified_tls` stored, if any."""
    return None if tls is None else tls.failure


def unreachable(error: Exception, host: str, port: int) -> Unavailable:
    """Return the error for a failed connection, with host, port and cause."""
    cause, action = _cause(error)
    return Unavailable(
        f"directory {host} port {port}: {cause}. {action}.", retry_after_seconds=RETRY_SECONDS
    )


def _cause(error: Exception) -> tuple[str, str]:
    causes = list(_chain(error))
    for link in causes:
        if isinstance(link, ssl.SSLCertVerificationError):
            reason = getattr(link, "verify_message", "").rstrip(".") or "unknown"
            return f"certificate refused, {reason}", "Check `host`, `ca_file` and the certificate"
    for link in causes:
        match link:
            case TimeoutError():
                return "no answer in time", "Check `host`, `port`, firewalls and the server"
            case ConnectionRefusedError():
                return "connection refused", "Check `host`, `port` and that the server runs"
            case ssl.SSLError() if getattr(link, "reason", None) in _SPEAKS_NO_TLS:
                return "TLS failed, the server speaks no TLS on this port", "Check `port` and `tls`"
            case ssl.SSLError():
                return f"TLS failed, {getattr(link, 'reason', None)}", "Check `tls` and the server"
            case socket.gaierror():
                return "the name has no address", "Check `host` and the name server"
            case ConnectionError():
                return "the server closed the connection", "Check `port`, `tls` and the server"
            case OSError() if link.strerror:
                return link.strerror, "Check `host`, `port` and the network"
            case Exception() if _UNKNOWN_NAME in str(link):
                return "the name has no address", "Check `host` and the name server"
    return f"no connection ({type(error).__name__})", "Check `host`, `port` and `tls`"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the first cause first.

    ldap3 raises its own errors, so the original error is one of their causes.
    """
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _chain(before)
    yield error
