"""Settings of backup sources on servers: databases and S3 buckets.

The behaviour is in `backup/sources/`. docs/sources.md describes for each source the database role
that it needs, its limits, and the data that it cannot back up.

Rules
- A source's `kind` is the name of its module in `backup/sources/`.
- A setting contains a reference to a password, never the password. Each backup reads the password
  when it begins.
"""

from typing import Literal

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.sections.server_settings import (
    CA_FILE,
    MARIADB_PASSWORD,
    MARIADB_TLS,
    POSTGRESQL_PASSWORD,
    POSTGRESQL_TLS,
    BucketConfig,
    MariadbTls,
    PostgresqlTls,
)
from standfast.config.value_types import (
    Items,
    KeyPrefix,
    Line,
    Name,
    Place,
    Port,
    SecretReference,
)


class PostgresqlServerConfig(Section):
    """Connection to a PostgreSQL server."""

    name: Name = Field(description="The name of the folder in the restored tree.", examples=["crm"])
    host: Line = Field(
        description="The name of the server, or the folder of its socket.",
        examples=["db.example.com", "/var/run/postgresql"],
    )
    port: Port = Field(default=5432, description="The port.")
    user: Line = Field(
        default="standfast_backup",
        description="The role that reads the data; docs/sources.md lists its rights.",
    )
    password: SecretReference | None = POSTGRESQL_PASSWORD
    tls: PostgresqlTls | None = POSTGRESQL_TLS
    ca_file: Place | None = CA_FILE
    programs: Place | None = Field(
        default=None,
        description="The folder with pg_dump and the other programs, if those on the PATH are "
        "older than the server.",
        examples=["/usr/lib/postgresql/18/bin"],
    )


class PostgresqlSourceConfig(PostgresqlServerConfig):
    """Databases of a PostgreSQL server, one dump each, and the server's roles."""

    kind: Literal["postgresql"] = Field(
        description="Databases of a PostgreSQL server, streamed from pg_dump."
    )
    databases: Items[Line] = Field(
        default=(),
        description="The databases. Default: all that accept connections.",
        examples=[["crm", "telephony"]],
    )
    exclude_databases: Items[Line] = Field(
        default=(),
        description="Databases to exclude if `databases` is not set.",
        examples=[["scratch"]],
    )
    role_passwords: bool = Field(
        default=False,
        description="Include the password hashes of the roles. This needs a superuser.",
        examples=[True],
    )


class PostgresqlBaseSourceConfig(PostgresqlServerConfig):
    """A whole PostgreSQL server, as a base backup and its log.

    Such a backup can be restored to any moment that the archived log covers.
    """

    kind: Literal["postgresql_base"] = Field(
        description="A base backup of a PostgreSQL server, streamed from pg_basebackup."
    )
    wal: Place | None = Field(
        default=None,
        description="The folder in which the server archives its log. The recovery point "
        "includes the log. Then the segments that the new base backup makes unnecessary are "
        "deleted from the folder.",
        examples=["/srv/crm-wal"],
    )


class PostgresqlWalSourceConfig(PostgresqlServerConfig):
    """The archived log of a PostgreSQL server, for a set that runs often."""

    kind: Literal["postgresql_wal"] = Field(
        description="The log that was archived since the last base backup. Nothing is deleted."
    )
    wal: Place = Field(
        description="The folder in which the server archives its log.", examples=["/srv/crm-wal"]
    )


class MariadbSourceConfig(Section):
    """Databases of a MariaDB or MySQL server, one dump each, and its users."""

    kind: Literal["mariadb"] = Field(
        description="Databases of a MariaDB server, streamed from mariadb-dump."
    )
    name: Name = Field(
        description="The name of the folder in the restored tree.", examples=["shop"]
    )
    host: Line = Field(
        description="The name of the server, or the file of its socket.",
        examples=["db.example.com", "/run/mysqld/mysqld.sock"],
    )
    port: Port = Field(default=3306, description="The port.")
    user: Line = Field(
        default="standfast_backup",
        description="The user that reads the data; docs/sources.md lists its grants.",
    )
    password: SecretReference | None = MARIADB_PASSWORD
    tls: MariadbTls | None = MARIADB_TLS
    ca_file: Place | None = CA_FILE
    programs: Place | None = Field(
        default=None,
        description="The folder with mariadb-dump and mariadb, or with MySQL's own mysqldump "
        "and mysql, if they are not on the PATH.",
        examples=["/opt/mariadb/bin"],
    )
    databases: Items[Line] = Field(
        default=(),
        description="The databases. Default: all except the server's system databases.",
        examples=[["shop"]],
    )
    exclude_databases: Items[Line] = Field(
        default=(),
        description="Databases to exclude if `databases` is not set.",
        examples=[["scratch"]],
    )
    users: bool = Field(
        default=True,
        description="Include the users, roles and grants, with the password hashes.",
        examples=[False],
    )


class S3SourceConfig(BucketConfig):
    """Objects below a prefix of an S3 bucket, each as one file."""

    kind: Literal["s3"] = Field(description="Objects below a prefix of a bucket.")
    name: Name = Field(
        description="The name of the folder in the restored tree.", examples=["recordings"]
    )
    prefix: KeyPrefix = Field(
        default="",
        description="The beginning of the keys. With a slash at the end, it selects one folder.",
        examples=["calls/2026/"],
    )
