"""From the settings of a directory of accounts to its connector.

Each kind's module is imported when one is built: a command that locks nothing loads none of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from standfast.adapters.accounts import Connector
from standfast.adapters.factory.build_context import BuildContext, Reveal
from standfast.adapters.factory.identity_providers import (
    PROVIDERS,
    limits_of,
    probe_of,
    revocation_of,
)
from standfast.config.sections.account_servers import (
    ActiveDirectoryConfig,
    LinuxDirectoryConfig,
    MariadbDirectoryConfig,
    OpenldapDirectoryConfig,
    PostgresqlDirectoryConfig,
    RedisDirectoryConfig,
)
from standfast.config.sections.accounts import AccountsConfig, ScimDirectoryConfig


def build_connector(name: str, settings: AccountsConfig, means: BuildContext) -> Connector:
    """Build one; the secrets it needs are resolved now, and SecretMissing names one that is not."""
    return _BUILDERS[settings.kind](name, settings, means)


def _scim(name: str, settings: ScimDirectoryConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.scim.connector import ScimConnector, ScimOptions

    options = ScimOptions(
        limits=limits_of(settings, batch=settings.bulk),
        verify_tls=settings.verify_tls,
        ca_file=settings.ca_file,
        revocation=revocation_of(settings.revocation, means.reveal),
        probe=probe_of(settings.probe, means.reveal),
    )
    return ScimConnector(
        name, settings.url, means.reveal(settings.token), options, clock=means.clock
    )


def _postgresql(name: str, settings: PostgresqlDirectoryConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.postgresql.connector import (
        PostgresqlConnector,
        PostgresqlOptions,
    )

    options = PostgresqlOptions(
        host=settings.host,
        port=settings.port,
        database=settings.database,
        user=settings.user,
        password=None if settings.password is None else means.reveal(settings.password),
        tls=settings.tls,
        ca_file=settings.ca_file,
        limits=limits_of(settings, batch=settings.batch),
    )
    return PostgresqlConnector(name, options, means.new_secrets)


def _openldap(name: str, settings: OpenldapDirectoryConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.openldap import OpenldapConnector, OpenldapOptions

    options = OpenldapOptions(
        server=ldap_server(settings, means.reveal),
        limits=limits_of(settings),
        monitor=settings.monitor,
    )
    return OpenldapConnector(name, options, means.new_secrets)


def _active_directory(name: str, settings: ActiveDirectoryConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.active_directory import ActiveDirectory, ActiveDirectoryOptions

    options = ActiveDirectoryOptions(
        server=ldap_server(settings, means.reveal),
        limits=limits_of(settings),
        reset_password=settings.reset_password,
    )
    return ActiveDirectory(name, options, means.new_secrets)


def ldap_server(settings: OpenldapDirectoryConfig | ActiveDirectoryConfig, reveal: Reveal) -> Any:
    """Say how an LDAP directory is reached; also for reading who is in it."""
    from standfast.adapters.clients.ldap.client import LdapServer

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


def _mariadb(name: str, settings: MariadbDirectoryConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.mariadb.connector import MariadbConnector, MariadbOptions

    options = MariadbOptions(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=None if settings.password is None else means.reveal(settings.password),
        tls=settings.tls,
        ca_file=settings.ca_file,
        limits=limits_of(settings, batch=settings.batch),
    )
    return MariadbConnector(name, options, means.new_secrets)


def _redis(name: str, settings: RedisDirectoryConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.redis import RedisConnector, RedisOptions

    options = RedisOptions(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=means.reveal(settings.password),
        tls=settings.tls,
        ca_file=settings.ca_file,
        limits=limits_of(settings, batch=settings.batch),
    )
    return RedisConnector(name, options, means.new_secrets)


def _linux(name: str, settings: LinuxDirectoryConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.linux import LinuxConnector, LinuxOptions

    options = LinuxOptions(
        command=settings.command, limits=limits_of(settings, batch=settings.batch)
    )
    return LinuxConnector(name, options, clock=means.clock)


# By kind, each given the settings of that kind.
_BUILDERS: Mapping[str, Callable[[str, Any, BuildContext], Connector]] = {
    "scim": _scim,
    "postgresql": _postgresql,
    "openldap": _openldap,
    "active_directory": _active_directory,
    "mariadb": _mariadb,
    "redis": _redis,
    "linux": _linux,
    **PROVIDERS,
}
