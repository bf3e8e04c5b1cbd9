"""Settings under `[backup]`: vault, copy, sets, hooks, files, SQLite.

A source is one thing that is backed up, such as a folder or a database server. The behaviour is in
`backup/` and `standfast/usecases/backups/backup_run.py`.

Rules
- A source's `kind` is the name of its module in `backup/sources/`; `backup_sources.py` has the
  settings of servers.
- The backup host needs `vault`, `keys` and `host`; none of them contains a key that opens a backup.
- If `s3` is set, this bucket is the vault (the store of the encrypted backups) instead of the
  folder `vault`. The key store, which has the encrypted private keys of the backups, is always a
  folder.
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
from standfast.config.sections.procedures import ProcedureName
from standfast.config.sections.recovery import RecoveryTargetConfig
from standfast.config.sections.retention import KeepingConfig
from standfast.config.sections.server_settings import BucketConfig
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
)

VERIFY_SCHEDULE = "30 6 * * *"  # default for a vault in a folder: after the nightly backups


class FilesSourceConfig(Section):
    """Files and folders, with modes, times, links and extended attributes."""

    kind: Literal["files"] = Field(description="A folder or a file on disk.")
    name: Name = Field(
        description="The name of the folder in the restored tree.", examples=["recordings"]
    )
    path: Place = Field(description="The folder or file to back up.", examples=["/srv/recordings"])
    exclude: Items[str] = Field(
        default=(),
        description="Patterns of excluded paths, as in .gitignore: `*.tmp` is a name in any "
        "folder; `/cache` and `a/b` are paths from `path`; `*` matches within one name, `**` "
        "across folders; a slash at the end matches folders only; `!` includes again. The last "
        "matching pattern decides. An excluded folder is not entered.",
        examples=[["*.tmp", "/cache/", "!keep.tmp"]],
    )
    one_file_system: bool = Field(
        default=False,
        description="Do not enter file systems that are mounted below `path`. The result names "
        "them.",
        examples=[True],
    )
    ignore_inode: bool = Field(
        default=False,
        description="For network mounts that assign new inode numbers at each mount. A file then "
        "counts as unchanged if its size, times, mode and owner are unchanged. Each name of a "
        "file with hard links is backed up as a separate file.",
        examples=[True],
    )


class SqliteSourceConfig(Section):
    """One SQLite database, copied whole and consistent while it is in use."""

    kind: Literal["sqlite"] = Field(
        description="One SQLite database, through its online backup interface."
    )
    name: Name = Field(description="The name of the folder in the restored tree.", examples=["crm"])
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


class HookConfig(Section):
    """A command that runs before or after a backup."""

    command: ProcedureName = Field(
        description="A command of `[commands]` without parameters. It receives `STANDFAST_SET` and "
        "`STANDFAST_RUN`; after the backup also `STANDFAST_RESULT` (`done`, `partial` or "
        "`failed`) and `STANDFAST_POINT`.",
        examples=["pause-crm"],
    )
    is_required: bool = Field(
        default=True,
        description="If a command of `before` fails, nothing is backed up; if a command of `after` "
        "fails, the run is partial. With `false` the failure is only recorded.",
        examples=[False],
    )


class BackupSetConfig(Section):
    """Sources that are backed up together, and their schedule."""

    sources: Annotated[Items[BackupSourceConfig], Field(min_length=1)] = Field(
        description="The content of each recovery point of this set, one table for each source.",
        examples=[[{"kind": "sqlite", "name": "crm", "path": "/srv/crm/crm.db"}]],
    )
    exclude: Items[str] = Field(
        default=(),
        description="Patterns that exclude paths from every file source of this set, applied "
        "before those of the source.",
        examples=[["*.tmp", "lost+found/"]],
    )
    schedule: CronSchedule = Field(
        default="30 2 * * *",
        description="When the set is backed up, as in cron: minute, hour, day of the month, "
        "month, day of the week.",
    )
    time_zone: TimeZone | None = Field(
        default=None,
        description="The time zone of the schedule. Default: that of the organisation.",
        examples=["Europe/Berlin"],
    )

    max_age_hours: Hours | None = Field(
        default=None,
        description="The age in hours at which the newest complete recovery point raises an "
        "alarm. Default: the shortest `rpo_minutes` of the services that need the "
        "set, otherwise two intervals of the schedule. A pause of the schedule at "
        "night or on Sundays does not count.",
        examples=[30],
    )
    recovery: Mapping[Name, RecoveryTargetConfig] = Field(
        default={},
        description="Where `standfast recover` puts the data of each source, by the name of the "
        "source.",
    )

    before: Items[HookConfig] = Field(
        default=(),
        description="Commands that run before the sources are read, in order.",
        examples=[[{"command": "pause-crm"}]],
    )
    after: Items[HookConfig] = Field(
        default=(),
        description="Commands that run after the backup, also after a failed one.",
        examples=[[{"command": "resume-crm"}]],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources of one set are named {', '.join(twice)}; rename one")
        kinds = {source.name: source.kind for source in self.sources}
        for name, target in self.recovery.items():
            if kinds.get(name) not in target.kinds:
                raise ValueError(
                    f"recovery.{name}: no source of this set with that name has the kind "
                    f"{' or '.join(target.kinds)}; correct it"
                )
        return self


class InstallationCopyConfig(Section):
    """Copies of this installation, as the backup set `installation`.

    docs/recover-installation.md lists the content of a copy, and explains the recovery.
    """

    schedule: CronSchedule = Field(
        default="45 2 * * *",
        description="When the installation is copied, as in cron. The copy waits for a backup that "
        "runs at that time.",
    )
    programs: Place | None = Field(
        default=None,
        description="The folder with pg_dump, for a ledger in PostgreSQL, if the one on the PATH "
        "is older than the server.",
        examples=["/usr/lib/postgresql/18/bin"],
    )


class S3Config(BucketConfig):
    """An S3 bucket as the vault, instead of the folder.

    deploy/s3/README.md describes its setup.
    """

    bucket: Line = Field(
        description="The bucket, with versioning and a default Object Lock.",
        examples=["example-vault"],
    )
    access_key_id: SecretReference = Field(
        description="The id of the access key of this machine's role: writer on the backup "
        "host; reader, verifier, keeper or owner on their machines; copier for a "
        "copy. `AWS_` variables, `~/.aws` and instance roles are not used.",
        examples=["file:keys/s3-access-key-id"],
    )
    prefix: ObjectPrefix = Field(
        default="",
        description="The beginning of every object name, if the bucket has other content; it "
        "ends with a slash.",
        examples=["call-centre/"],
    )
    requires_lock: bool = Field(
        default=True,
        description="Refuse a bucket that does not lock its objects: in such a bucket, an "
        "attacker on this host could delete every backup.",
    )
    lock_days: Days | None = Field(
        default=None,
        description="Lock each object for this number of days, if the bucket has no default "
        "lock or a shorter one. This needs the right s3:PutObjectRetention; a default lock is "
        "better.",
        examples=[30],
    )
    lock_mode: Literal["COMPLIANCE", "GOVERNANCE"] = Field(
        default="COMPLIANCE",
        description="The mode of the lock of `lock_days`. GOVERNANCE can be bypassed with a "
        "special right.",
    )


class CopyConfig(Section):
    """A second site that the vault is copied to: a folder or a bucket."""

    vault: Place | None = Field(
        default=None,
        description="The folder of the copy: a disk or a share of the second site.",
        examples=["/mnt/second-site/vault"],
    )
    s3: S3Config | None = Field(
        default=None,
        description="A bucket instead of that folder, with an access key that may add objects.",
    )
    keys: Place | None = Field(
        default=None,
        description="The folder for a copy of the key store, made by `standfast backup copy "
        "--keys`. Without it, the domain keys must be restored from another copy after the loss "
        "of the first site.",
        examples=["/mnt/second-site/keys"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.vault is None) == (self.s3 is None):
            raise ValueError("a copy has one destination: set `vault` or `s3`, not both")
        return self


class BackupConfig(Section):
    """The encrypted repository of backups, and the folders of this host."""

    vault: Place = Field(
        default=Path("vault"),
        description="The folder of the encrypted recovery points, preferably on another machine "
        "or disk: an attacker with root rights on this machine can delete a folder "
        "on it.",
        examples=["/mnt/backup/vault"],
    )
    s3: S3Config | None = Field(default=None, description="An S3 bucket instead of that folder.")
    keys: Place = Field(
        default=Path("keys/store"),
        description="The key store: a separate folder with the key records, which contain the "
        "domain keys, encrypted to the custodians. No backup can be opened without these key "
        "records; `standfast backup keys copy` copies them.",
        examples=["/mnt/backup-keys"],
    )
    host: Place = Field(
        default=Path("keys/backup-host"),
        description="The folder with this host's own keys. They sign and encrypt backups, and "
        "cannot open one.",
        examples=["/etc/standfast/backup-host"],
    )
    send_log: Place = Field(
        default=Path("state/send-log.db"),
        description="The upload cache: a record of what the vault contains. If it is lost, "
        "content is uploaded again. No backup includes it.",
        examples=["/var/lib/standfast/send-log.db"],
    )
    witness: Place = Field(
        default=Path("backup-witness.jsonl"),
        description="The file in which each verification records the newest recovery point, "
        "preferably on another machine: it reveals a vault that was rolled back.",
        examples=["/mnt/witness/backup.jsonl"],
    )
    writer: Name = Field(
        default="host-1",
        description="The name of this backup host in the repository. Recovery points are named "
        "after it.",
    )
    domain: Name = Field(
        default="main",
        description="The erasure domain: backup sets that share one key and are erased together.",
    )
    verify_schedule: CronSchedule | None = Field(
        default=None,
        description="The schedule, as in cron, by which `standfast serve` verifies the vault "
        "without a key. Default: each day at 06:30 for a folder, and never for a bucket: the "
        "verification of a bucket needs the verifier's access key.",
        examples=[VERIFY_SCHEDULE],
    )
    read_schedule: CronSchedule | None = Field(
        default=None,
        description="The schedule of the verifications that also read every byte. A store may "
        "charge for that.",
        examples=["0 7 * * 6"],
    )
    alarm_roles: Items[Line] = Field(
        default=(),
        description="The roles whose people receive alarms: a backup that is too old, changed "
        "unusually or is damaged, objects without the required lock, a verification, drill or "
        "retention run that is late, and a missing machine. Default: all enrolled people.",
        examples=[["operator"]],
    )
    keeping: KeepingConfig = Field(
        default={}, validate_default=True, description="Retention of recovery points."
    )
    copies: Mapping[Name, CopyConfig] = Field(
        default={}, description="Second sites, by name: `standfast backup copy --to NAME`."
    )
    bandwidth: Bandwidth = Field(
        default={},
        description="Upload limits of a backup and of a copy to a second site, by time of day "
        "in the organisation's time zone. Outside these hours there is no limit. KB, MB and GB "
        "are powers of a thousand.",
        examples=[{"08:00-20:00": "20 MB/s"}],
    )
    sets: Mapping[Name, BackupSetConfig] = Field(
        default={}, description="The backup sets, each with a schedule."
    )
    installation: InstallationCopyConfig | None = Field(
        default=None, description="Copies of this installation, for the loss of this machine."
    )
