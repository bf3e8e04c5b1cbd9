"""TLS settings for database servers, in the form of each driver.

Without a setting, certificate and name are verified, except for a server on this machine. This
module opens no connection.
"""

import ssl
from pathlib import Path
from typing import Any

from standfast.errors import ConfigurationError


def is_this_machine(host: str) -> bool:
    """Return whether a server is reached by a socket file or loopback."""
    return host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")


def verified(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies certificate and name.

    Without `ca_file` the authorities of this machine apply. ConfigurationError if the file has no
    certificates.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        raise ConfigurationError(
            f"certificate file {ca_file}: cannot be used ({type(error).__name__}); "
            "give a PEM file in `ca_file`"
        ) from None


def postgresql_tls(host: str, tls: str | None, ca_file: Path | None) -> dict[str, Any]:
    """Return the options of libpq for a TLS mode."""
    mode = tls or ("prefer" if is_this_machine(host) else "verify-full")
    # libpq refuses `system` in a mode that does not verify the certificate.
    authorities = str(ca_file or "system") if mode.startswith("verify") else None
    return {"sslmode": mode, "sslrootcert": authorities}


def mariadb_tls(host: str, tls: str | None, ca_file: Path | None) -> dict[str, Any]:
    """Return the options of pymysql for a TLS mode.

    Without a mode, a server on this machine is used with or without TLS, without verification.
    """
    if tls == "disable":
        return {"ssl_disabled": True}
    if tls is None and is_this_machine(host):
        return {}
    context = verified(ca_file)
    if tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}
