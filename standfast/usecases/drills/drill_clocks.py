"""Clocks of a drill: the steps from declaration to use."""

from enum import StrEnum


class DrillClock(StrEnum):
    """The steps of a drill, in order; a clock is the moment when a step ends."""

    DECLARED = "declared"
    KEY_OBTAINED = "key obtained"
    PROVISIONED = "provisioned"  # folder and empty database servers are ready
    FIRST_BYTE = "first byte"
    DATA_COMPLETE = "data complete"
    REPLAY_DONE = "replay done"  # dumps are loaded, and logs replayed
    CHECKS_PASSED = "checks passed"
    USABLE = "usable"
