"""Settings of evidence sources: `[evidence.NAME]`.

An evidence source is a log, a folder or the output of commands that is frozen (copied, hashed and
signed) as evidence of an incident. The behaviour is in `standfast/adapters/evidence_sources/`.

Rules
- A source's `kind` is the name of its module in `standfast/adapters/evidence_sources/`.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from standfast.config.base_section import Section
from standfast.config.sections.server_settings import (
    CA_FILE,
    POSTGRESQL_PASSWORD,
    POSTGRESQL_TLS,
    AwsAccessConfig,
    BucketConfig,
    PostgresqlTls,
)
from standfast.config.value_types import (
    Hours,
    Items,
    KeyPrefix,
    Line,
    Name,
    Place,
    Port,
    SecretReference,
    Text,
    matching,
)

JournalUnit = Annotated[
    str,
    matching(
        r"[A-Za-z0-9:_.@*?\[\]\\][A-Za-z0-9:_.@*?\[\]\\-]*", "a unit is written like ssh.service"
    ),
]
GoogleApplication = Annotated[
    str, matching(r"[a-z_]{1,40}", "an application is written like login or user_accounts")
]
JournalMatch = Annotated[
    str, matching(r"[A-Z0-9_]+=[^\x00-\x1f]+", "a match is written like _UID=1002")
]


def _program(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv or not argv[0].startswith("/"):
        raise ValueError("begin with the program and its absolute path")
    return argv


CommandLine = Annotated[Items[str], AfterValidator(_program)]


class FilesEvidenceConfig(Section):
    """Files and folders that are frozen as evidence: copied, hashed, sealed."""

    kind: Literal["files"] = Field(description="Files and folders on this machine.")
    paths: Annotated[Items[Place], Field(min_length=1)] = Field(
        description="The files and folders to freeze, with everything in the folders.",
        examples=[["/var/log/auth.log", "/var/log/telephony"]],
    )
    exclude: Items[str] = Field(
        default=(),
        description="Shell patterns of excluded paths, compared with the whole path and with "
        "its last name. The manifest contains the number of excluded items.",
        examples=[["*.gz", "/var/log/telephony/cache/*"]],
    )


HOURS = Field(
    default=168, description="The hours before the freeze from which records are collected."
)
LIMIT_MIB = Field(
    default=1024,
    description="The maximum size of one item, in MiB. A longer item is cut and recorded as "
    "incomplete.",
)
Mebibytes = Annotated[int, Field(ge=1, le=1024 * 1024)]
CollectionSeconds = Annotated[int, Field(ge=1, le=86_400)]


class JournaldEvidenceConfig(Section):
    """The journal of systemd, in its export format."""

    kind: Literal["journald"] = Field(description="The journal of systemd on this machine.")
    hours: Hours = HOURS
    units: Items[JournalUnit] = Field(
        default=(),
        description="Units whose entries are collected. Default: all entries.",
        examples=[["ssh.service", "asterisk.service"]],
    )
    matches: Items[JournalMatch] = Field(
        default=(),
        description="Fields that an entry must have, as `journalctl` reads them: two values of "
        "one field are alternatives. `_UID` selects accounts.",
        examples=[["_UID=1002", "_UID=1003"]],
    )
    folder: Place | None = Field(
        default=None,
        description="A folder of journal files, for example of systemd-journal-remote. Default: "
        "the journal of this machine.",
        examples=["/var/log/journal/remote"],
    )
    timeout_seconds: CollectionSeconds = Field(
        default=600,
        description="Time limit. After it the journal is cut and recorded as incomplete.",
    )
    limit_mib: Mebibytes = LIMIT_MIB


class CommandsEvidenceConfig(Section):
    """The output of listed commands: data that is lost at a shutdown."""

    kind: Literal["commands"] = Field(description="The output of commands on this machine.")
    commands: Annotated[Items[CommandLine], Field(min_length=1)] = Field(
        description="The commands, each with the absolute path of its program and its arguments, "
        "those with the most volatile data first. They run without a shell, and must change "
        "nothing.",
        examples=[[["/usr/bin/ss", "-tanp"], ["/usr/bin/ps", "auxww"]]],
    )
    timeout_seconds: CollectionSeconds = Field(
        default=30,
        description="Time limit of each command. After it the command is ended, and its output "
        "is recorded as incomplete.",
    )
    limit_mib: Mebibytes = LIMIT_MIB


class PagedLogConfig(Section):
    """A log that is read page by page over HTTP."""

    hours: Hours = HOURS
    timeout_seconds: CollectionSeconds = Field(
        default=1800, description="Time limit. After it the rest of the log is recorded as missing."
    )


class DirectoryLogConfig(PagedLogConfig):
    """The log of a directory of accounts, read with its credential."""

    directory: Name = Field(
        description="The directory in `[accounts.NAME]`, whose address and credential are used.",
        examples=["workforce"],
    )


class AccountLogConfig(DirectoryLogConfig):
    """The log of a directory that can be filtered by account."""

    accounts: Items[Line] = Field(
        default=(),
        description="Only the events of these accounts, by their sign-in names. Default: all.",
        examples=[["m.keller@example.com"]],
    )


class OktaEvidenceConfig(AccountLogConfig):
    """The system log of an Okta organisation."""

    kind: Literal["okta"] = Field(description="The system log of Okta.")


class EntraEvidenceConfig(AccountLogConfig):
    """The sign-ins and the directory audit of an Entra ID tenant."""

    kind: Literal["entra"] = Field(description="The sign-ins and the directory audit of Entra ID.")


class GoogleWorkspaceEvidenceConfig(AccountLogConfig):
    """The activities of a Google Workspace customer."""

    kind: Literal["google_workspace"] = Field(
        description="The activities that Google Workspace reports."
    )
    applications: Annotated[Items[GoogleApplication], Field(min_length=1)] = Field(
        default=("login", "admin", "token", "user_accounts"),
        description="The applications whose activities are collected, as Google names them.",
        examples=[["login", "admin", "token", "drive"]],
    )


class CloudwatchEvidenceConfig(PagedLogConfig, AwsAccessConfig):
    """Log groups of CloudWatch Logs; the key may call logs:FilterLogEvents."""

    kind: Literal["cloudwatch"] = Field(description="Log groups of Amazon CloudWatch Logs.")
    log_groups: Annotated[Items[Line], Field(min_length=1)] = Field(
        description="The names of the log groups.", examples=[["/aws/lambda/agent-desktop"]]
    )
    pattern: Line | None = Field(
        default=None,
        description="Only events that match this filter pattern of CloudWatch, for example those "
        "of an account. Default: all.",
        examples=['"m.keller"'],
    )


class AmazonConnectEvidenceConfig(DirectoryLogConfig):
    """The contact records of an Amazon Connect instance."""

    kind: Literal["amazon_connect"] = Field(description="The contact records of Amazon Connect.")
    hours: Annotated[int, Field(ge=1, le=1344)] = Field(
        default=168,
        description="The hours before the freeze from which contacts are collected, at most eight "
        "weeks.",
    )
    agent_ids: Annotated[Items[Line], Field(max_length=100)] = Field(
        default=(),
        description="Only the contacts of these agents, by the ids of their users. Default: all.",
        examples=[["12345678-1234-1234-1234-123456789012"]],
    )


class PostgresqlEvidenceConfig(Section):
    """The log of a PostgreSQL server, and audit tables of a database."""

    kind: Literal["postgresql"] = Field(description="The log and audit tables of PostgreSQL.")
    host: Line = Field(
        description="The name of the server, or the folder of its socket.",
        examples=["db.example.com"],
    )
    port: Port = Field(default=5432, description="The port.")
    database: Line = Field(
        default="postgres", description="The database with the audit tables.", examples=["crm"]
    )
    user: Line = Field(
        default="evidence",
        description="A role that may only read; docs/evidence.md lists its rights.",
    )
    password: SecretReference | None = POSTGRESQL_PASSWORD
    tls: PostgresqlTls | None = POSTGRESQL_TLS
    ca_file: Place | None = CA_FILE
    hours: Hours = HOURS
    accounts: Items[Line] = Field(
        default=(),
        description="Accounts that queries receive as `%(accounts)s`.",
        examples=[["m.keller"]],
    )
    logs: bool = Field(
        default=True,
        description="Collect the files of the server log (csvlog, jsonlog, text) that changed in "
        "these `hours`.",
    )
    queries: Mapping[Name, Text] = Field(
        default={},
        description="Queries whose rows are collected as CSV, one file each. `%(since)s` and "
        "`%(until)s` are the beginning and the end of these `hours`, `%(accounts)s` the "
        "accounts; any other percent sign is written `%%`.",
        examples=[
            {
                "sign-ins": "SELECT * FROM audit.sign_ins WHERE at BETWEEN %(since)s AND "
                "%(until)s AND account = ANY(%(accounts)s)"
            }
        ],
    )
    timeout_seconds: CollectionSeconds = Field(
        default=600,
        description="Time limit of each statement. After it the item is cut and recorded as "
        "incomplete.",
    )
    limit_mib: Mebibytes = LIMIT_MIB

    @model_validator(mode="after")
    def check(self) -> Self:
        if not self.logs and not self.queries:
            raise ValueError("set `logs` or `queries`: nothing would be collected")
        return self


class S3EvidenceConfig(BucketConfig):
    """Objects of an S3 bucket, such as the files of CloudTrail."""

    kind: Literal["s3"] = Field(description="Objects below a prefix of a bucket.")
    prefix: KeyPrefix = Field(
        default="",
        description="The beginning of the keys. With a slash at the end, it selects one folder.",
        examples=["AWSLogs/123456789012/CloudTrail/"],
    )
    hours: Hours = Field(
        default=168,
        description="The hours before the freeze in which a collected object was last changed. "
        "Older objects are only counted.",
    )
    timeout_seconds: CollectionSeconds = Field(
        default=3600,
        description="Time limit. After it the remaining objects are recorded as missing.",
    )


EvidenceConfig: TypeAlias = Annotated[
    FilesEvidenceConfig
    | JournaldEvidenceConfig
    | CommandsEvidenceConfig
    | OktaEvidenceConfig
    | EntraEvidenceConfig
    | CloudwatchEvidenceConfig
    | AmazonConnectEvidenceConfig
    | GoogleWorkspaceEvidenceConfig
    | PostgresqlEvidenceConfig
    | S3EvidenceConfig,
    Field(discriminator="kind"),
]
