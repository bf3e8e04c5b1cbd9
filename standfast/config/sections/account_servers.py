"""Settings of accounts on servers: LDAP, databases, Redis, Linux.

A directory is a system that stores accounts. Standfast opens its own connection to each of these
servers. The behaviour is in `standfast/adapters/accounts/<kind>.py`; `accounts.py` lists all kinds.
"""

from typing import Annotated, Literal

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.sections.server_settings import (
    BURST,
    CA_FILE,
    MARIADB_PASSWORD,
    MARIADB_TLS,
    PER_SECOND,
    POSTGRESQL_PASSWORD,
    POSTGRESQL_TLS,
    MariadbTls,
    PostgresqlTls,
    RedisTls,
)
from standfast.config.value_types import Items, Line, Place, Port, Seconds, SecretReference, Workers


class CalledConfig(Section):
    """Settings of the calls to a directory."""

    timeout_seconds: Annotated[float, Field(gt=0, le=120)] = Field(
        default=10.0,
        description="Time limit of one call. After it the call is cut off, and its outcome is "
        "unknown if a change may have been sent.",
    )
    per_second: Seconds | None = PER_SECOND
    burst: Annotated[int, Field(ge=1)] = BURST


class ServerCalledConfig(CalledConfig):
    """Settings of calls to a server that accepts many accounts in one call."""

    workers: Workers = Field(default=4, description="Concurrent calls.")
    batch: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description="Accounts in one call."
    )


class PostgresqlDirectoryConfig(ServerCalledConfig):
    """The roles of a PostgreSQL server."""

    kind: Literal["postgresql"] = Field(
        description="The roles of a PostgreSQL server, 14 and newer."
    )
    host: Line = Field(
        description="The name of the server, or the folder of its socket.",
        examples=["db.example.com", "/var/run/postgresql"],
    )
    port: Port = Field(default=5432, description="The port.")
    database: Line = Field(
        default="postgres",
        description="The database to sign in to. Roles belong to the whole server.",
    )
    user: Line = Field(
        default="standfast",
        description="The role that locks other roles; docs/accounts.md lists its rights.",
    )
    password: SecretReference | None = POSTGRESQL_PASSWORD
    tls: PostgresqlTls | None = POSTGRESQL_TLS
    ca_file: Place | None = CA_FILE


class MariadbDirectoryConfig(ServerCalledConfig):
    """The users of a MariaDB server."""

    kind: Literal["mariadb"] = Field(description="The users of a MariaDB server, 10.5 and newer.")
    host: Line = Field(
        description="The name of the server, or the file of its socket.",
        examples=["db.example.com", "/run/mysqld/mysqld.sock"],
    )
    port: Port = Field(default=3306, description="The port.")
    user: Line = Field(
        default="standfast",
        description="The user that locks other users; docs/accounts.md lists its routines and "
        "grants.",
    )
    password: SecretReference | None = MARIADB_PASSWORD
    tls: MariadbTls | None = MARIADB_TLS
    ca_file: Place | None = CA_FILE


class RedisDirectoryConfig(ServerCalledConfig):
    """The ACL users of a Redis server."""

    kind: Literal["redis"] = Field(description="The ACL users of a Redis server, 6 and newer.")
    host: Line = Field(
        description="The name of the server, or the file of its socket.",
        examples=["cache.example.com", "/run/redis/redis.sock"],
    )
    port: Port = Field(default=6379, description="The port.")
    user: Line = Field(
        default="standfast",
        description="The user that locks other users; docs/accounts.md lists its ACL rules.",
    )
    password: SecretReference = Field(
        description="The password.", examples=["file:keys/cache-password"]
    )
    tls: RedisTls | None = Field(
        default=None,
        description="`verify` uses TLS and checks the certificate. Default: `verify`, and "
        "`disable` for a server on this machine.",
        examples=["verify"],
    )
    ca_file: Place | None = CA_FILE


class LdapServerConfig(CalledConfig):
    """Connection to an LDAP directory."""

    host: Line = Field(
        description="The name of the directory server, as in its certificate.",
        examples=["ldap.example.com"],
    )
    port: Port | None = Field(
        default=None,
        description="The port. Default: 636 for `ldaps`, otherwise 389.",
        examples=[636],
    )
    tls: Literal["ldaps", "starttls", "none"] = Field(
        default="ldaps",
        description="How the connection is encrypted. `none` is accepted only for a server on "
        "this machine.",
        examples=["starttls"],
    )
    ca_file: Place | None = Field(
        default=None,
        description="Certificate authorities to trust. Default: those of this machine.",
        examples=["keys/directory-ca.pem"],
    )
    password: SecretReference = Field(
        description="The password of `bind_dn`.", examples=["file:keys/directory-password"]
    )
    workers: Workers = Field(
        default=16,
        description="Concurrent connections. Each carries up to 32 accounts in one call.",
    )


class OpenldapDirectoryConfig(LdapServerConfig):
    """An OpenLDAP directory with the password policy overlay."""

    kind: Literal["openldap"] = Field(
        description="OpenLDAP 2.5 and newer with the password policy overlay."
    )
    bind_dn: Line = Field(
        description="The account that locks other accounts; docs/accounts.md lists its rights.",
        examples=["cn=standfast,ou=services,dc=example,dc=com"],
    )
    base: Line = Field(
        description="The entry below which accounts are searched.",
        examples=["ou=people,dc=example,dc=com"],
    )
    attribute: Line = Field(
        default="uid",
        description="The attribute with the account names that people type.",
        examples=["uid", "mail"],
    )
    filter: Line = Field(
        default="(objectClass=*)",
        description="The filter that matches the entries of accounts.",
        examples=["(objectClass=inetOrgPerson)"],
    )
    monitor: bool = Field(
        default=False,
        description="Count the open connections of an account to the directory in cn=Monitor; "
        "the proof then reaches `connections_gone`. Sessions in applications are not visible "
        "there.",
        examples=[True],
    )


class ActiveDirectoryConfig(LdapServerConfig):
    """An Active Directory domain."""

    kind: Literal["active_directory"] = Field(description="Active Directory of Microsoft or Samba.")
    bind_dn: Line = Field(
        description="The account that locks other accounts, as a DN, as NAME@DOMAIN or as "
        "DOMAIN\\NAME.",
        examples=["standfast@example.com"],
    )
    base: Line = Field(
        description="The entry below which accounts are searched.", examples=["DC=example,DC=com"]
    )
    attribute: Line = Field(
        default="sAMAccountName",
        description="The attribute with the account names that people type.",
        examples=["sAMAccountName", "userPrincipalName"],
    )
    filter: Line = Field(
        default="(&(objectCategory=person)(objectClass=user))",
        description="The filter that matches the entries of accounts.",
    )
    reset_password: bool = Field(
        default=False,
        description="Replace the password when an account is locked. This is irreversible: "
        "give the holder a new password after the undo.",
        examples=[True],
    )


class LinuxDirectoryConfig(CalledConfig):
    """The local accounts of a Linux host."""

    kind: Literal["linux"] = Field(description="The local accounts of one Linux host.")
    command: Annotated[Items[Line], Field(min_length=1)] = Field(
        description="The command that starts the program on the host, as docs/accounts.md "
        "describes.",
        examples=[["ssh", "-T", "-o", "BatchMode=yes", "standfast@web1.example.com"]],
    )
    workers: Workers = Field(default=4, description="Concurrent calls.")
    batch: Annotated[int, Field(ge=1, le=100)] = Field(
        default=10, description="Accounts in one call."
    )
