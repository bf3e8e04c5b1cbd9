"""Settings under `[backup]`: vault, copy, sets, files, SQLite.

The behaviour is in `backup/` and `standfast/usecases/backups/backup_run.py`.

Rules
- A source's `kind` is the name of its module in `backup/sources/`; `backup_sources.py` has the
  settings of servers.
- The backup host needs `vault`, `keys` and `host`; none of them contains a key that opens a backup.
- If `s3` is set, it is the vault instead of the folder; the key store is always a folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.sections.backup_sources import (
    MariadbSourceConfig,
    PostgresqlBaseSourceConfig,
    PostgresqlSourceConfig,
    PostgresqlWalSourceConfig,
    S3SourceConfig,
)
from standfast.config.sections.bandwidth import Bandwidth
from standfast.config.sections.retention import KeepingConfig
from standfast.config.sections.server_settings import (
    S3_CA_FILE,
    S3_ENDPOINT,
    S3_REGION,
    S3_SECRET,
    S3_SESSION_TOKEN,
)
from standfast.config.value_types import (
    CronSchedule,
    Days,
    Hours,
    Items,
    Line,
    Name,
    ObjectPrefix,
    Place,
    SecretReference,
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
    exclude: Items[str] = Field(
        default=(),
        description="Patterns of what is left out, as in .gitignore: `*.tmp` is a name in any "
        "folder, `/cache` and `a/b` are paths from `path`, `*` stays within one name and `**` "
        "crosses folders, a slash at the end means folders only, `!` brings back. The last one "
        "that matches decides; a folder that is left out is not entered.",
        examples=[["*.tmp", "/cache/", "!keep.tmp"]],
    )
    one_file_system: bool = Field(
        default=False,
        description="Do not enter what is mounted below `path`; it is noted.",
        examples=[True],
    )
    ignore_inode: bool = Field(
        default=False,
        description="For network mounts that number their files anew each time: a file counts as "
        "unchanged by its size, times, mode and owner alone, and each name as a file of its own.",
        examples=[True],
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
    FilesSourceConfig
    | SqliteSourceConfig
    | PostgresqlSourceConfig
    | PostgresqlBaseSourceConfig
    | PostgresqlWalSourceConfig
    | MariadbSourceConfig
    | S3SourceConfig,
    Field(discriminator="kind"),
]


class BackupSetConfig(Section):
    """Sources that are backed up together, and their schedule."""

    sources: Annotated[Items[BackupSourceConfig], Field(min_length=1)] = Field(
        description="What goes into each recovery point of this set; one table a source.",
        examples=[[{"kind": "sqlite", "name": "crm", "path": "/srv/crm/crm.db"}]],
    )
    exclude: Items[str] = Field(
        default=(),
        description="Patterns of what is left out of every source of files of this set, before "
        "the source's own.",
        examples=[["*.tmp", "lost+found/"]],
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

    max_age_hours: Hours | None = Field(
        default=None,
        description="People are told when the newest complete recovery point is older than this. "
        "Without it the shortest `rpo_minutes` of the services that need the set counts, else two "
        "intervals of the schedule, which may rest at night and on Sundays.",
        examples=[30],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources of one set are named {', '.join(twice)}; rename one")
        return self


class S3Config(Section):
    """An S3 bucket as the vault, instead of the folder.

    deploy/s3/README.md describes its setup.
    """

    bucket: Line = Field(
        description="The bucket, with versions and a default Object Lock.",
        examples=["example-vault"],
    )
    access_key_id: SecretReference = Field(
        description="The access key's name: the writer's on the backup host; the reader's, the "
        "verifier's, the keeper's or the owner's where those work; of a copy, the copier's. "
        "Nothing is taken from `AWS_` variables, from `~/.aws` or from an instance role.",
        examples=["file:keys/s3-access-key-id"],
    )
    secret_access_key: SecretReference = S3_SECRET
    session_token: SecretReference | None = S3_SESSION_TOKEN
    prefix: ObjectPrefix = Field(
        default="",
        description="What every object's name begins with, where the bucket is not the vault's "
        "alone; it ends with a slash.",
        examples=["call-centre/"],
    )
    region: Line = S3_REGION
    endpoint_url: WebAddress | None = S3_ENDPOINT
    ca_file: Place | None = S3_CA_FILE
    requires_lock: bool = Field(
        default=True,
        description="Refuse a bucket that does not lock what is put into it: there, who owns this "
        "host could delete every backup.",
        examples=[True],
    )
    lock_days: Days | None = Field(
        default=None,
        description="Lock each object for so many days, where the bucket has no default lock or a "
        "shorter one. It takes the right s3:PutObjectRetention; a default lock is better.",
        examples=[30],
    )
    lock_mode: Literal["COMPLIANCE", "GOVERNANCE"] = Field(
        default="COMPLIANCE",
        description="The mode of that lock. GOVERNANCE yields to whoever may bypass it.",
        examples=["COMPLIANCE"],
    )


class CopyConfig(Section):
    """A second site that the vault is copied to: a folder or a bucket."""

    vault: Place | None = Field(
        default=None,
        description="The folder that the copy goes to: a disk or a share of the second site.",
        examples=["/mnt/second-site/vault"],
    )
    s3: S3Config | None = Field(
        default=None,
        description="A bucket in place of that folder, with an identity that may add to it.",
    )
    keys: Place | None = Field(
        default=None,
        description="The folder for a copy of the key store, which `--keys` copies too. Without it "
        "the domain keys have to come from elsewhere when the first site is gone.",
        examples=["/mnt/second-site/keys"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.vault is None) == (self.s3 is None):
            raise ValueError("a copy goes to one place: set `vault` or `s3`, and not both")
        return self


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
        description="The key store: a folder apart from the vault, with the key records: the "
        "domain keys, each encrypted to the custodians. No backup opens without them; `standfast "
        "backup keys copy` makes copies.",
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
        description="What was sent already; losing it costs only sending again. No backup has it.",
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
    verify_schedule: CronSchedule | None = Field(
        default=None,
        description="When `standfast serve` verifies the vault without a key, as in cron. Without "
        "it each day at 06:30 where the vault is a folder, and never where it is a bucket: there "
        "it takes the verifier's access key.",
        examples=["30 6 * * *"],
    )
    read_schedule: CronSchedule | None = Field(
        default=None,
        description="When it reads every byte as well; a store may charge for that.",
        examples=["0 7 * * 6"],
    )
    alarm_roles: Items[Line] = Field(
        default=(),
        description="Who is told when a backup is too old, changed far more than usual, or is "
        "damaged, when objects are not locked as they must be, and when a verification, a drill "
        "or the keeper does not come: the enrolled people with one of these roles; without any, "
        "all of them.",
        examples=[["operator"]],
    )
    keeping: KeepingConfig = Field(
        default={}, validate_default=True, description="How long recovery points are kept."
    )
    copies: Mapping[Name, CopyConfig] = Field(
        default={}, description="The second sites, by name: `standfast backup copy --to NAME`."
    )
    bandwidth: Bandwidth = Field(
        default={},
        description="How fast a backup, or its copy to a second site, may send, by the hour of the "
        "organisation's time zone; outside of these hours there is no limit. KB, MB and GB are "
        "powers of a thousand.",
        examples=[{"08:00-20:00": "20 MB/s"}],
    )
    sets: Mapping[Name, BackupSetConfig] = Field(
        default={}, description="The sets of sources, each with a schedule."
    )
