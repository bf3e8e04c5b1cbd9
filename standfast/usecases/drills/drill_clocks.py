"""Milestones of a drill, from its declaration to the usable service.

A drill is a test restore; the recovery of a service in an incident has the same milestones.
"""

from enum import StrEnum


class DrillClock(StrEnum):
    """The milestones of a drill or a recovery, in order."""

    DECLARED = "declared"
    KEY_OBTAINED = "key obtained"  # the private key that opens the backups was read
    PROVISIONED = "provisioned"  # the folder and empty database servers are ready
    FIRST_BYTE = "first byte"  # the first restored byte was written
    DATA_COMPLETE = "data complete"  # all files are restored
    REPLAY_DONE = "replay done"  # dumps are loaded, and write-ahead logs are replayed
    CHECKS_PASSED = "checks passed"
    USABLE = "usable"
