"""Settings of recovery targets, `[backup.sets.NAME.recovery.SOURCE]`.

`standfast/usecases/recovery/` restores there.
"""

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import Place


class RecoveryTargetConfig(Section):
    """The target of a recovery for one source.

    Data that is already there is renamed, never overwritten.
    """

    path: Place = Field(
        description="The folder of a source of kind `files`, or the database file of one of kind "
        "`sqlite`. It is not a mount point, and its parent folder exists.",
        examples=["/srv/recordings"],
    )
