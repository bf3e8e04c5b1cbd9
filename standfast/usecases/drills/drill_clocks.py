"""Milestones of a drill, from its declaration to the usable service."""

from enum import StrEnum


class DrillClock(StrEnum):
    """The milestones of a drill or a recovery, in order."""

    DECLARED = "declared"
    KEY_OBTAINED = "key obtained"
    PROVISIONED = "provisioned"  # folder and empty database servers are ready
    FIRST_BYTE = "first byte"
    DATA_COMPLETE = "data complete"
    REPLAY_DONE = "replay done"  # dumps are loaded, and logs replayed
    CHECKS_PASSED = "checks passed"
    USABLE = "usable"
