"""The settings under `[backup]`: where backups go, and what is in each set.

Owns the fields; `backup/` and `standfast/operations/backups.py` act on them.

Rules
- A source's `kind` is the name of its module in `backup/sources/`.
- The backup host needs `vault`, `keys` and `host`; none of them holds a key that opens a backup.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.fields import CronSchedule, Name, Place, Section, TimeZone


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


class BackupConfig(Section):
    """The encrypted repository and this host's part in it."""

    vault: Place = Field(
        default=Path("vault"),
        description="The folder that the encrypted recovery points go to. Best on another "
        "machine or disk: whoever is root here can delete a folder here.",
        examples=["/mnt/backup/vault"],
    )
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
