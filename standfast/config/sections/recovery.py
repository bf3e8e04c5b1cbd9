"""Settings of recovery targets, `[backup.sets.NAME.recovery.SOURCE]`.

A target is the place to which a recovery restores one source of a backup set. The code that
restores is in `standfast/usecases/recovery/`.
"""

from typing import Self

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.sections.server_settings import BucketConfig
from standfast.config.value_types import KeyPrefix, Line, Place, SecretReference

KINDS_WITH_LOG = ("postgresql_base",)  # the target is the data directory of a server
# Kinds of sources that can be recovered, by the kind of their target.
KINDS_WITH_PATH = ("files", "sqlite", *KINDS_WITH_LOG)
KINDS_WITH_SERVER = ("postgresql", "mariadb")
KINDS_WITH_BUCKET = ("s3",)
RECOVERABLE_KINDS = (*KINDS_WITH_PATH, *KINDS_WITH_SERVER, *KINDS_WITH_BUCKET)


class RecoveryBucketConfig(BucketConfig):
    """The bucket that the objects of a source of kind `s3` are restored to.

    The bucket must keep versions and have no default retention period. Restored objects are added
    as new versions, and an undo of the recovery removes exactly these versions.
    """

    access_key_id: SecretReference = Field(
        description="The id of an access key with the rights of deploy/s3/recovery-policy.json: "
        "it may add and remove versions below the prefix.",
        examples=["file:keys/recovery-access-key-id"],
    )
    prefix: KeyPrefix = Field(
        default="",
        description="The beginning of the restored keys. It replaces the prefix of the source.",
        examples=["calls/2026/"],
    )
    folder: Place = Field(
        description="A folder for the restored objects until they are in the bucket, and for the "
        "record of the added versions, which an undo needs. Its disk needs space for all objects.",
        examples=["/var/lib/standfast/recovery"],
    )
    hides_others: bool = Field(
        default=False,
        description="Add a delete marker to each object below the prefix that is not in the "
        "recovery point. The marker hides the object. With `false`, these objects are counted "
        "and kept.",
        examples=[True],
    )


class RecoveryTargetConfig(Section):
    """The target of a recovery for one source.

    Existing data at the target is renamed, never overwritten.
    """

    path: Place | None = Field(
        default=None,
        description="The target: a folder for a source of kind `files`, a database file for kind "
        "`sqlite`, or a data directory for kind `postgresql_base`. It must not be a mount point, "
        "and its parent folder must exist.",
        examples=["/srv/recordings"],
    )
    into: Line | None = Field(
        default=None,
        description="The server for the databases of a source of kind `postgresql` or `mariadb`: "
        "the name of a source, or the reference of an address, as for `backup restore --into`. "
        "The user in this address must have the right to create databases, and must own the "
        "existing databases. In MariaDB, the user must have all privileges with the grant option.",
        examples=["file:keys/crm-server-address"],
    )

    s3: RecoveryBucketConfig | None = Field(
        default=None, description="The bucket for the objects of a source of kind `s3`."
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of sources that the target is for."""
        if self.s3 is not None:
            return KINDS_WITH_BUCKET
        return KINDS_WITH_PATH if self.into is None else KINDS_WITH_SERVER

    @model_validator(mode="after")
    def check(self) -> Self:
        if sum(target is not None for target in (self.path, self.into, self.s3)) != 1:
            raise ValueError("a recovery has one target: set one of `path`, `into` and `s3`")
        return self
