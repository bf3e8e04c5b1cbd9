"""Configured databases and buckets: addresses, as sources and targets.

The code for each kind of service is in `backup/sources/` and `backup/targets/`.

Rules
- The password of a source is read when the source is opened. If the password is missing, only this
  source fails.
- An address (`postgresql://USER:PASSWORD@HOST/DATABASE`) is secret as a whole, and is never shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from backup.errors import SourceFailed
from backup.sources import Source
from backup.sources.mariadb import server as mariadb_server
from backup.sources.mariadb.dump_source import MariadbSource
from backup.sources.mariadb.server import MariadbServer
from backup.sources.postgresql import server as postgresql_server
from backup.sources.postgresql.base_backup import PostgresqlBaseSource
from backup.sources.postgresql.dump_source import PostgresqlSource
from backup.sources.postgresql.server import PostgresqlServer
from backup.sources.postgresql.wal_archive import PostgresqlWalSource
from backup.stores.s3 import S3Options
from backup.targets import Target
from backup.targets.mariadb import MariadbTarget
from backup.targets.postgresql import PostgresqlTarget
from standfast.config.sections.backup import BackupSourceConfig
from standfast.config.sections.backup_sources import (
    MariadbSourceConfig,
    PostgresqlBaseSourceConfig,
    PostgresqlServerConfig,
    PostgresqlSourceConfig,
    PostgresqlWalSourceConfig,
    S3SourceConfig,
)
from standfast.config.sections.server_settings import BucketConfig
from standfast.config.value_types import SecretReference
from standfast.errors import StandfastError, UsageError
from standfast.records import Now
from standfast.secrets import Resolver

ServiceSourceConfig = (
    PostgresqlSourceConfig
    | PostgresqlBaseSourceConfig
    | PostgresqlWalSourceConfig
    | MariadbSourceConfig
    | S3SourceConfig
)

_SHAPES = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE or mariadb://USER:PASSWORD@HOST/DATABASE"

_TLS: Mapping[str, Sequence[str]] = {
    "postgresql": get_args(postgresql_server.Tls),
    "mariadb": get_args(mariadb_server.Tls),
}


def service_source(config: ServiceSourceConfig, resolver: Resolver) -> Source:
    """Return the reader of a service; open no connection and read no secret."""
    match config:
        case PostgresqlSourceConfig():
            return PostgresqlSource(
                config.name,
                _postgresql(config, resolver),
                config.databases,
                config.exclude_databases,
                role_passwords=config.role_passwords,
            )
        case PostgresqlBaseSourceConfig():
            return PostgresqlBaseSource(config.name, _postgresql(config, resolver), config.wal)
        case PostgresqlWalSourceConfig():
            return PostgresqlWalSource(config.name, _postgresql(config, resolver), config.wal)
        case MariadbSourceConfig():
            return MariadbSource(
                config.name,
                _mariadb(config, resolver),
                config.databases,
                config.exclude_databases,
                users=config.users,
            )
        case S3SourceConfig():
            from backup.sources.s3.bucket_source import S3Source  # imported here: it loads boto3

            return S3Source(
                config.name, config.bucket, config.prefix, lambda: bucket_options(config, resolver)
            )
        case _:
            assert_never(config)


@dataclass(frozen=True, kw_only=True)
class Address:
    """A server to restore into, and its database if one is named."""

    kind: str
    server: PostgresqlServer | MariadbServer
    database: str | None

    def target(self, clock: Now, scratch: Path, hidden: tuple[Path, ...]) -> Target:
        """Return the target, which uses the private folder `scratch`.

        The client programs cannot read the `hidden` paths if the kernel supports Landlock.
        """
        match replace(self.server, hidden=hidden):
            case PostgresqlServer() as server:
                return PostgresqlTarget(server, clock)
            case MariadbServer() as server:
                return MariadbTarget(server, scratch)
            case never:
                assert_never(never)


def address_of(config: BackupSourceConfig, resolver: Resolver) -> Address | None:
    """Return the server of a source; None if dumps cannot be loaded into it."""
    match config:
        case PostgresqlSourceConfig():
            server = _postgresql(config, resolver)
            return Address(kind=config.kind, server=server, database=None)
        case MariadbSourceConfig():
            return Address(kind=config.kind, server=_mariadb(config, resolver), database=None)
        case _:
            return None


def address_from_secret(
    reference: SecretReference, resolver: Resolver, sources: Sequence[BackupSourceConfig]
) -> Address:
    """Read an address from a secret; raise `UsageError` if it is invalid.

    The error does not quote the address. The client programs (such as psql) are those of the first
    source of the same kind, because the programs on the PATH may be older.
    """
    wrong = UsageError(f"{reference}: not the address of a server. Write {_SHAPES}.")
    try:
        parts = urlsplit(resolver.resolve(reference).reveal())
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        port = parts.port
    except ValueError:
        raise wrong from None  # the cause may quote the password
    scheme = {"postgres": "postgresql", "mysql": "mariadb"}.get(parts.scheme, parts.scheme)
    host = parts.hostname or options.pop("host" if scheme == "postgresql" else "socket", "")
    tls = options.pop("sslmode" if scheme == "postgresql" else "tls", None)
    ca_file = options.pop("sslrootcert" if scheme == "postgresql" else "ca_file", None)
    levels = _TLS.get(scheme)
    if not host or not parts.username or options or levels is None or tls not in (None, *levels):
        raise wrong
    more: dict[str, Any] = {
        "host": host,
        "user": unquote(parts.username),
        "password": None if parts.password is None else _always(unquote(parts.password)),
        "tls": tls,
        "ca_file": None if ca_file is None else Path(ca_file),
        "programs": next((path for source in sources if (path := _programs(source, scheme))), None),
    }
    if port is not None:
        more["port"] = port
    is_postgresql = scheme == "postgresql"
    server = PostgresqlServer(**more) if is_postgresql else MariadbServer(**more)
    return Address(kind=scheme, server=server, database=unquote(parts.path.lstrip("/")) or None)


def _programs(config: BackupSourceConfig, kind: str) -> Path | None:
    match config:
        case PostgresqlSourceConfig() | MariadbSourceConfig() if config.kind == kind:
            return config.programs
        case _:
            return None


def _postgresql(config: PostgresqlServerConfig, resolver: Resolver) -> PostgresqlServer:
    return PostgresqlServer(
        host=config.host,
        port=config.port,
        user=config.user,
        password=_late(config.password, resolver),
        tls=config.tls,
        ca_file=config.ca_file,
        programs=config.programs,
    )


def _mariadb(config: MariadbSourceConfig, resolver: Resolver) -> MariadbServer:
    return MariadbServer(
        host=config.host,
        port=config.port,
        user=config.user,
        password=_late(config.password, resolver),
        tls=config.tls,
        ca_file=config.ca_file,
        programs=config.programs,
    )


def bucket_options(config: BucketConfig, resolver: Resolver) -> S3Options:
    """Return the options of a bucket; `SourceFailed` if a secret is missing."""
    token = config.session_token
    return S3Options(
        bucket=config.bucket,
        access_key_id=_now(config.access_key_id, resolver),
        secret_access_key=_now(config.secret_access_key, resolver),
        session_token=None if token is None else _now(token, resolver),
        region=config.region,
        endpoint_url=config.endpoint_url,
        ca_file=config.ca_file,
    )


def _late(reference: SecretReference | None, resolver: Resolver) -> Callable[[], str] | None:
    return None if reference is None else lambda: _now(reference, resolver)


def _now(reference: SecretReference, resolver: Resolver) -> str:
    try:
        return resolver.resolve(reference).reveal()
    except StandfastError as error:
        raise SourceFailed(str(error)) from error


def _always(password: str) -> Callable[[], str]:
    return lambda: password
