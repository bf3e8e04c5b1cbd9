"""Settings of recovery targets, `[backup.sets.NAME.recovery.SOURCE]`.

`standfast/usecases/recovery/` restores to these targets.
"""

from typing import Self

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.value_types import Line, Place

KINDS_WITH_PATH = ("files", "sqlite")  # kinds of sources that can be recovered
KINDS_WITH_SERVER = ("postgresql",)
RECOVERABLE_KINDS = (*KINDS_WITH_PATH, *KINDS_WITH_SERVER)


class RecoveryTargetConfig(Section):
    """The target of a recovery for one source.

    Existing data at the target is renamed, never overwritten.
    """

    path: Place | None = Field(
        default=None,
        description="The folder of a source of kind `files`, or the database file of one of kind "
        "`sqlite`. It must not be a mount point, and its parent folder must exist.",
        examples=["/srv/recordings"],
    )
    into: Line | None = Field(
        default=None,
        description="The server for the databases of a source of kind `postgresql`: the name of a "
        "source, or the reference of an address, as for `backup restore --into`. Its user must "
        "have the right to create databases, and must own the existing ones.",
        examples=["file:keys/crm-server-address"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.path is None) == (self.into is None):
            raise ValueError("a recovery has one target: set `path` or `into`, not both")
        return self
