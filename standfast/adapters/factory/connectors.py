"""Connectors, built from the settings of directories.

The module of a connector is imported when it is built: a command that locks nothing loads none.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.config.sections.accounts import AccountsConfig

# By kind: the module below `standfast.adapters.accounts`, and the class in it.
CONNECTORS: Final[Mapping[str, tuple[str, str]]] = {
    "active_directory": ("active_directory", "ActiveDirectory"),
    "amazon_connect": ("amazon_connect", "AmazonConnect"),
    "aws_iam": ("aws_iam", "AwsIam"),
    "cognito": ("cognito", "Cognito"),
    "entra": ("entra", "Entra"),
    "glewlwyd": ("glewlwyd", "Glewlwyd"),
    "google_workspace": ("google_workspace", "GoogleWorkspace"),
    "linux": ("linux", "LinuxConnector"),
    "mariadb": ("mariadb.connector", "MariadbConnector"),
    "okta": ("okta", "Okta"),
    "openldap": ("openldap", "OpenldapConnector"),
    "postgresql": ("postgresql.connector", "PostgresqlConnector"),
    "redis": ("redis", "RedisConnector"),
    "scim": ("scim.connector", "ScimConnector"),
}


def build_connector(name: str, settings: AccountsConfig, context: BuildContext) -> Connector:
    """Build a connector and resolve its secrets; SecretMissing names one."""
    module, class_name = CONNECTORS[settings.kind]
    kind: type = getattr(import_module(f"standfast.adapters.accounts.{module}"), class_name)
    connector: Connector = kind(name, settings, context)
    return connector
