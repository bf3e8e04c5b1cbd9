"""Results of checks in a drill, each with its level of proof.

A drill is a test restore of a backup set.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from standfast.records import Json


class CheckState(StrEnum):
    """The outcome of one check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class CheckLevel(StrEnum):
    """Levels of proof of a passed check, from the weakest to the strongest."""

    ISOLATION = "isolation"  # no process of the drill reaches a network
    FILES = "files"  # every byte equals the byte that was backed up
    STRUCTURE = "structure"  # a dump loads into a database server, and the constraints are met
    CONTENT = "content"  # rows, totals and the newest change are as expected
    SERVICE = "service"  # a command of the configuration used the restored service


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The outcome of one check, with its level of proof and its measures."""

    name: str
    service: str  # "" for a check that belongs to no service
    level: CheckLevel
    state: CheckState
    reason: str = ""
    took_ms: int = 0
    last_change: datetime | None = None  # the newest change in the checked data
    output: str = ""  # messages of a failed command; they may be personal data
    rows: Mapping[str, int] = field(default_factory=dict)  # row counts by source/database/table
    is_for_another_set: bool = False  # True: skipped, because the drill restores another set

    def as_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "service": self.service,
            "level": self.level.value,
            "state": self.state.value,
            "reason": self.reason,
            "took_ms": self.took_ms,
            **({"rows": dict(self.rows)} if self.rows else {}),
        }


@dataclass(frozen=True, kw_only=True)
class CheckFinding:
    """The result of a check that was executed; `problem` is "" if it passed."""

    problem: str = ""
    last_change: datetime | None = None
    output: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)


def write_output(path: Path, checks: Sequence[CheckResult]) -> bool:
    """Write the output of failed commands to a new private file.

    Return whether the file was written.
    """
    printed = [
        f"{check.name}: {check.reason}\n{check.output}\n" for check in checks if check.output
    ]
    if printed:
        with suppress(OSError):  # if the disk is full, the terminal still shows the output
            path.touch(mode=0o600, exist_ok=False)
            path.write_text("".join(printed), encoding="utf-8")
            return True
    return False
