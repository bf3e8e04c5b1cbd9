"""Failures to reach a directory: TLS that keeps its cause, and messages with host, port and cause.

- A server's text is never repeated; what Python's TLS says of a certificate is.
"""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from standfast.errors import Unavailable
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import verified

_UNKNOWN_NAME = "invalid server address"  # all that ldap3 tells of a name without an address
_SPEAKS_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING")


def verified_tls(ldap3: Any, host: str, ca_file: Path | None) -> Any:
    """Return ldap3's TLS in which Python verifies certificate and name: its own code is of 2013."""
    context = verified(ca_file)

    class Tls(ldap3.Tls):  # type: ignore[misc]  # ldap3 has no types
        failure: Exception | None = None  # ldap3 raises a copy, without what OpenSSL said

        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            try:
                connection.socket = context.wrap_socket(connection.socket, server_hostname=host)
            except OSError as error:
                self.failure = error
                raise

    return Tls(validate=ssl.CERT_REQUIRED)


def failure_of(tls: Any) -> Exception | None:
    """Return what failed in `verified_tls`, for the error that ldap3 raises to come from."""
    return None if tls is None else tls.failure


def unreachable(error: Exception, host: str, port: int) -> Unavailable:
    """Return the error for a connection that failed, with host, port and cause."""
    cause, action = _cause(error)
    return Unavailable(
        f"directory {host} port {port}: {cause}. {action}.", retry_after_seconds=RETRY_SECONDS
    )


def _cause(error: Exception) -> tuple[str, str]:
    causes = list(_chain(error))
    for one in causes:
        if isinstance(one, ssl.SSLCertVerificationError):
            said = getattr(one, "verify_message", "").rstrip(".") or "unknown"
            return f"certificate refused, {said}", "Check `host`, `ca_file` and the certificate"
    for one in causes:
        match one:
            case TimeoutError():
                return "no answer in time", "Check `host`, `port`, firewalls and the server"
            case ConnectionRefusedError():
                return "connection refused", "Check `host`, `port` and that the server runs"
            case ssl.SSLError() if getattr(one, "reason", None) in _SPEAKS_NO_TLS:
                return "TLS failed, the server speaks no TLS on this port", "Check `port` and `tls`"
            case ssl.SSLError():
                return f"TLS failed, {getattr(one, 'reason', None)}", "Check `tls` and the server"
            case socket.gaierror():
                return "the name has no address", "Check `host` and the name server"
            case ConnectionError():
                return "the server closed the connection", "Check `port`, `tls` and the server"
            case OSError() if one.strerror:
                return one.strerror, "Check `host`, `port` and the network"
            case Exception() if _UNKNOWN_NAME in str(one):
                return "the name has no address", "Check `host` and the name server"
    return f"no connection ({type(error).__name__})", "Check `host`, `port` and `tls`"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error came from, the first cause first: ldap3 hides it in copies."""
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _chain(before)
    yield error
