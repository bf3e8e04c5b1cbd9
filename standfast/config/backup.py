"""The settings under `[backup]`: where backups go, and what is in each set.

Owns the fields; `backup/` and `standfast/operations/backups.py` act on them.

Rules
- A source's `kind` is the name of its module in `backup/sources/`.
- The backup host needs `vault`, `keys` and `host`; none of them holds a key that opens a backup.
- `s3`, where it is set, is the vault in place of the folder; the key store stays a folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.fields import (
    CronSchedule,
    Days,
    Flag,
    Line,
    Name,
    ObjectPrefix,
    Place,
    SecretReference,
    Section,
    TimeZone,
    WebAddress,
)


class FilesSourceConfig(Section):
    """Files and folders, with modes, times, links and extended attributes."""

    kind: Literal["files"] = Field(
        description="A folder or a file, as it lies on disk.", examples=["files"]
    )
    name: Name = Field(
        description="The folder's name in the restored tree.", examples=["recordings"]
    )
    path: Place = Field(description="What is backed up.", examples=["/srv/recordings"])
    exclude: tuple[str, ...] = Field(
        default=(),
        description="Patterns of what is left out, matched below `path`.",
        examples=[["*.tmp", "cache/*"]],
    )


class SqliteSourceConfig(Section):
    """One SQLite database, copied whole and consistent while it is in use."""

    kind: Literal["sqlite"] = Field(
        description="One SQLite database, through its online backup interface.",
        examples=["sqlite"],
    )
    name: Name = Field(description="The folder's name in the restored tree.", examples=["crm"])
    path: Place = Field(description="The database file.", examples=["/srv/crm/crm.db"])


BackupSourceConfig: TypeAlias = Annotated[
    FilesSourceConfig | SqliteSourceConfig, Field(discriminator="kind")
]


class BackupSetConfig(Section):
    """What is backed up together, and when."""

    sources: Annotated[tuple[BackupSourceConfig, ...], Field(min_length=1)] = Field(
        description="What goes into each recovery point of this set; one table a source.",
        examples=[[{"kind": "sqlite", "name": "crm", "path": "/srv/crm/crm.db"}]],
    )
    schedule: CronSchedule = Field(
        default="30 2 * * *",
        description="When, as in cron: minute, hour, day of the month, month, day of the week.",
        examples=["30 2 * * *"],
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The schedule's time zone; the organisation's without it.",
        examples=["Europe/Berlin"],
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources of one set are named {', '.join(twice)}; rename one")
        return self


class S3Config(Section):
    """An S3 bucket as the vault, in place of the folder; deploy/s3/README.md sets one up."""

    bucket: Line = Field(
        description="The bucket, with versions and a default Object Lock.",
        examples=["example-vault"],
    )
    access_key_id: SecretReference = Field(
        description="The access key's name: the writer's on the backup host, the reader's or the "
        "verifier's where backups are restored or verified. Nothing is taken from `AWS_` "
        "variables, from `~/.aws` or from an instance role.",
        examples=["file:keys/s3-access-key-id"],
    )
    secret_access_key: SecretReference = Field(
        description="The access key.", examples=["file:keys/s3-secret-access-key"]
    )
    session_token: SecretReference | None = Field(
        default=None,
        description="The token that belongs to a temporary access key.",
        examples=["env:VAULT_SESSION_TOKEN"],
    )
    prefix: ObjectPrefix = Field(
        default="",
        description="What every object's name begins with, where the bucket is not the vault's "
        "alone; it ends with a slash.",
        examples=["call-centre/"],
    )
    region: Line = Field(
        default="us-east-1", description="The bucket's region.", examples=["eu-central-1"]
    )
    endpoint_url: WebAddress | None = Field(
        default=None,
        description="The address of an S3 that is not Amazon's.",
        examples=["https://s3.example.com"],
    )
    ca_file: Place | None = Field(
        default=None,
        description="Certificate authorities to trust for it, when it is not a public one.",
        examples=["/etc/ssl/company-ca.pem"],
    )
    requires_lock: Flag = Field(
        default=True,
        description="Refuse a bucket that does not lock what is put into it: there, who owns this "
        "host could delete every backup.",
        examples=[True],
    )
    lock_days: Days | None = Field(
        default=None,
        description="Lock each object for so many days, where the bucket has no default lock. It "
        "takes the right s3:PutObjectRetention; a default lock is better.",
        examples=[30],
    )
    lock_mode: Literal["COMPLIANCE", "GOVERNANCE"] = Field(
        default="COMPLIANCE",
        description="The mode of that lock. GOVERNANCE yields to whoever may bypass it.",
        examples=["COMPLIANCE"],
    )


class BackupConfig(Section):
    """The encrypted repository and this host's part in it."""

    vault: Place = Field(
        default=Path("vault"),
        description="The folder that the encrypted recovery points go to. Best on another "
        "machine or disk: whoever is root here can delete a folder here.",
        examples=["/mnt/backup/vault"],
    )
    s3: S3Config | None = Field(default=None, description="An S3 bucket in place of that folder.")
    keys: Place = Field(
        default=Path("keys/store"),
        description="The key store: a folder apart from the vault, with the domain keys, each "
        "encrypted to the custodians.",
        examples=["/mnt/backup-keys"],
    )
    host: Place = Field(
        default=Path("keys/backup-host"),
        description="The folder with this host's own keys: it signs and encrypts with them and "
        "can open nothing.",
        examples=["/etc/standfast/backup-host"],
    )
    send_log: Place = Field(
        default=Path("state/send-log.db"),
        description="What was sent already; losing it costs only sending again.",
        examples=["/var/lib/standfast/send-log.db"],
    )
    witness: Place = Field(
        default=Path("backup-witness.jsonl"),
        description="Where each verification writes the newest recovery point it saw. Best "
        "outside this machine: it is what shows a vault that was rolled back.",
        examples=["/mnt/witness/backup.jsonl"],
    )
    writer: Name = Field(
        default="host-1",
        description="This backup host's name in the repository; recovery points are named after "
        "it.",
        examples=["host-1"],
    )
    domain: Name = Field(
        default="main",
        description="The erasure domain: what is encrypted to one key, and erased together.",
        examples=["main"],
    )
    sets: Mapping[Name, BackupSetConfig] = Field(
        default={}, description="The sets of sources, each with a schedule."
    )
