"""Settings of audiences: recipients of notices, and exclusions.

An audience is the list of people that a notice (a message about an incident) is for. The behaviour
is in `standfast/notices/audience*.py`.

Rules
- An audience is read when a notice is prepared, and never stored unencrypted.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.sections.server_settings import (
    CA_FILE,
    MARIADB_TLS,
    POSTGRESQL_TLS,
    MariadbTls,
    PostgresqlTls,
)
from standfast.config.value_types import (
    InnerPath,
    Language,
    Line,
    Name,
    Place,
    Port,
    SecretReference,
    Text,
)

_COLUMNS = (
    "`address` (for mail), `postal_1` to `postal_6` (the lines of a letter below the name), "
    "`key`, `name`, `language`, `why`, `is_minor`, `is_deceased`, `born_on`, `died_on`; any other "
    "column becomes a slot `{{ recipient.NAME }}`; `address` or `postal_1` is required"
)


def _refuse_without_address(columns: Mapping[str, str]) -> None:
    if "address" not in columns and "postal_1" not in columns:
        raise ValueError("`columns` has no `address`")


class _Audience(Section):
    """Settings of every audience, with defaults for missing columns."""

    language: Language | None = Field(
        default=None,
        description="The language of rows without one. Default: the first language of the "
        "organisation.",
        examples=["es"],
    )
    why: Line | None = Field(
        default=None,
        description="The reason for the notice, for rows without a reason of their own. If a row "
        "has no reason and this setting is missing, the person of the row is listed and not "
        "notified.",
        examples=["customer whose record was open in the account"],
    )
    each_address: bool = Field(
        default=False,
        description="Notify a person (a `key`) at each address in the rows, not only at the "
        "first one.",
        examples=[True],
    )
    adult_years: Annotated[int, Field(ge=1, le=30)] = Field(
        default=18,
        description="A recipient that is younger than this, by `born_on`, is held: a person "
        "decides about the notice.",
        examples=[16],
    )
    suppress: Place | None = Field(
        default=None,
        description="A CSV file of people that must never be notified: a heading line, then in "
        "each line an address or a key, and the reason in the second column. If the file cannot "
        "be read, nobody is notified. `check` and the plan count entries whose address cannot be "
        "read.",
        examples=["never-write-to.csv"],
    )


class CsvAudienceConfig(_Audience):
    """People listed in a file."""

    kind: Literal["csv"] = Field(
        description='A CSV file with a heading line, in UTF-8 or as Excel\'s "Unicode text".'
    )
    path: Place = Field(
        description="The file, with commas or semicolons between the columns.",
        examples=["staff.csv"],
    )
    columns: Mapping[str, str] = Field(
        default={"address": "email", "name": "name", "language": "language"},
        description="Assigns the columns of the file. `address` (the mail address) or "
        "`postal_1` is required. Also known are `key` (the person; default: the address), "
        "`name`, `language`, `why`, `is_minor`, `is_deceased`, `born_on`, `died_on` and "
        "`postal_1` to `postal_6` (the lines of a letter below the name). Any other name becomes "
        "a slot that a template uses as `{{ recipient.NAME }}`. Other columns of the file are "
        "not read. Without this setting, columns with one of these names are read, except "
        "`address`.",
        examples=[{"address": "email", "name": "full_name", "key": "customer_id"}],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        _refuse_without_address(self.columns)
        return self


class _QueriedAudience(_Audience):
    """People found by a query."""

    query: Text = Field(
        description=f"One SELECT whose columns are named {_COLUMNS}.",
        examples=["SELECT email AS address, name, id AS key FROM customers"],
    )
    suppress_query: Text | None = Field(
        default=None,
        description="A SELECT on the same database that returns the people that must never be "
        "notified: an address or a key, then the reason.",
        examples=["SELECT email, 'asked not to be written to' FROM customers WHERE no_mail"],
    )


class SqliteAudienceConfig(_QueriedAudience):
    """People found by a query in a SQLite database, read only."""

    kind: Literal["sqlite"] = Field(description="A query on a SQLite database, read only.")
    path: Place = Field(description="The database file.", examples=["/srv/crm/crm.db"])


class _ServedAudience(_QueriedAudience):
    """People found by a query on a database server, by a read-only role."""

    host: Line = Field(
        description="The name of the server, or its socket: the folder for PostgreSQL, the "
        "file for MariaDB.",
        examples=["crm-replica.example.com"],
    )
    database: Line = Field(description="The database.", examples=["crm"])
    user: Line = Field(
        description="A role with SELECT on the data that the query reads, and no other right. "
        "A role with a right to write is refused.",
        examples=["standfast_reader"],
    )
    password: SecretReference | None = Field(
        default=None,
        description="The password. Without it, the server must accept the role by its socket.",
        examples=["file:keys/crm-reader"],
    )
    ca_file: Place | None = CA_FILE
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=60.0, description="The time limit of the query, enforced by the server."
    )


class PostgresqlAudienceConfig(_ServedAudience):
    """People found by a query on PostgreSQL."""

    kind: Literal["postgresql"] = Field(
        description="A query on a PostgreSQL database, in a read-only transaction; needs the extra "
        "`postgresql`."
    )
    port: Port = Field(default=5432, description="The port of the server.")
    tls: PostgresqlTls | None = POSTGRESQL_TLS


class MariadbAudienceConfig(_ServedAudience):
    """People found by a query on MariaDB."""

    kind: Literal["mariadb"] = Field(
        description="A query on a MariaDB database, in a read-only transaction; needs the extra "
        "`mariadb`."
    )
    port: Port = Field(default=3306, description="The port of the server.")
    tls: MariadbTls | None = MARIADB_TLS


class ScimAudienceConfig(_Audience):
    """The users of a SCIM directory."""

    kind: Literal["scim"] = Field(
        description="All users of a SCIM directory that have a mail address."
    )
    directory: Name = Field(
        description="The directory, by its name in [accounts.NAME].", examples=["agents"]
    )
    includes_disabled: bool = Field(
        default=False,
        description="Notify people with a disabled account, too, even if this incident "
        "disabled it.",
        examples=[True],
    )


class BackupAudienceConfig(_Audience):
    """People in the newest recovery point from before the incident."""

    kind: Literal["backup"] = Field(
        description="A file of a backup set from before the incident. It is restored into a "
        "private folder, read and destroyed; `drills.identity` opens the recovery point."
    )
    set: Name = Field(
        description="The backup set, by its name in [backup.sets.NAME].", examples=["main"]
    )
    path: InnerPath = Field(
        description="The file in the set, below the name of its source: a SQLite database with "
        "`query`, otherwise a CSV file with `columns`.",
        examples=["crm/crm.db"],
    )
    query: Text | None = Field(
        default=None,
        description=f"One SELECT on the restored SQLite database, its columns named {_COLUMNS}.",
        examples=["SELECT email AS address, name, id AS key FROM customers"],
    )
    columns: Mapping[str, str] | None = Field(
        default=None,
        description="Assigns the columns of the restored CSV file, as for `csv`.",
        examples=[{"address": "email", "key": "customer_id"}],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.query is None) == (self.columns is None):
            raise ValueError("write either `query` (for SQLite) or `columns` (for CSV)")
        if self.columns is not None:
            _refuse_without_address(self.columns)
        return self


AudienceConfig: TypeAlias = Annotated[
    CsvAudienceConfig
    | SqliteAudienceConfig
    | PostgresqlAudienceConfig
    | MariadbAudienceConfig
    | ScimAudienceConfig
    | BackupAudienceConfig,
    Field(discriminator="kind"),
]
