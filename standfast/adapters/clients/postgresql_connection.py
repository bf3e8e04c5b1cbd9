"""Connections to a PostgreSQL server, and the texts of their errors."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from standfast.errors import ExtraMissing, Unavailable
from standfast.retry_rules import RETRY_SECONDS
from standfast.server_tls import postgresql_tls

if TYPE_CHECKING:
    import psycopg


class ServerSettings(Protocol):
    """The settings of a server, from any section of the configuration."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def database(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def tls(self) -> str | None: ...
    @property
    def ca_file(self) -> Path | None: ...


def connect(
    settings: ServerSettings,
    password: str | None,
    *,
    connect_seconds: int,
    statement_milliseconds: int,
    parameter: str,
) -> "psycopg.Connection[tuple[Any, ...]]":
    """Return a connection that commits each statement.

    `parameter` is a parameter of the session, such as `search_path=pg_catalog`. Raise Unavailable
    if the server cannot be reached, is full or refuses the sign-in; ExtraMissing if the driver is
    not installed.
    """
    try:
        import psycopg
    except ImportError:
        raise ExtraMissing(
            "PostgreSQL's driver is not installed: "
            "pip install -r requirements/extras/postgresql.txt"
        ) from None
    try:
        return psycopg.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=password,
            **postgresql_tls(settings.host, settings.tls, settings.ca_file),
            connect_timeout=connect_seconds,
            application_name="standfast",
            client_encoding="utf8",
            options=f"-c statement_timeout={statement_milliseconds} -c {parameter}",
            autocommit=True,
        )
    except psycopg.OperationalError:
        # The driver's text may quote the role and the host.
        raise Unavailable(
            "no connection: the server is unreachable or full, or refuses the configured role. "
            "Check the host, port and certificate, the role, its password and limit, and "
            "pg_hba.conf.",
            retry_after_seconds=RETRY_SECONDS,
        ) from None
