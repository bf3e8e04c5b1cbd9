"""Error classes by the action that each error requires; exit statuses.

    StandfastError            1  report the error and end: a retry does not help
    ├── ConfigurationError    2  correct the configuration or the command, then run again
    │   ├── UsageError        2  correct the command
    │   ├── SecretMissing     2  set the secret that a reference names
    │   ├── FileInvalid       2  correct a file that a person wrote; every problem has its line
    │   │   └── PlaybookInvalid 2  correct a playbook
    │   ├── TemplateInvalid   2  correct a notice
    │   ├── OnlyReadable      2  run the command as a user that may write the installation
    │   └── ExtraMissing      2  install an optional package; the message names its extra
    ├── Refused               4  ask the operator: a rule forbids the request
    │   ├── ApprovalRefused   4  correct the approval: its signature, role, person or plan
    │   ├── UnderWay          4  wait: the same run is in progress
    │   └── Unsupported       4  choose another action: the provider cannot do this one
    ├── Unavailable           1  retry: the other system does not answer
    └── Damaged               6  stop and examine: stored data differs from what was written

Rules
- The class decides the exit status; the message states the facts.
- A message names the affected thing, the cause and the action. It contains no secret and no
  personal data: it may appear in a log, in Prefect or on a shared screen.
- Partial success is a result with its own exit status (3), never an exception.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of the process; `--help` lists them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    REFUSED = 4
    WAITS_FOR_PEOPLE = 5
    DAMAGED = 6


EXIT_STATUS_MEANING = {
    ExitStatus.DONE: "done",
    ExitStatus.FAILED: "failed",
    ExitStatus.USAGE: "usage or configuration",
    ExitStatus.PARTIAL: "partial: some targets were not done; each has its reason",
    ExitStatus.REFUSED: "refused by a rule",
    ExitStatus.WAITS_FOR_PEOPLE: "waits for people",
    ExitStatus.DAMAGED: "damaged data found",
}


class StandfastError(Exception):
    """Base class of all errors; raised directly if a retry will not help."""

    exit_status = ExitStatus.FAILED


class ConfigurationError(StandfastError):
    """The configuration or the command must be corrected first."""

    exit_status = ExitStatus.USAGE


class UsageError(ConfigurationError):
    """The command names something that does not exist or does not fit."""


class SecretMissing(ConfigurationError):
    """A reference such as `env:NAME` or `file:PATH` has no value."""


class TemplateInvalid(ConfigurationError):
    """A notice template does not render, or lacks a language or a part."""


class OnlyReadable(ConfigurationError):
    """The command must write, but its user, such as an auditor, may only read."""


class ExtraMissing(ConfigurationError):
    """An optional package is not installed; the message names its extra."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem in a file that a person wrote.

    Lines count from 1; 0 means the whole file.
    """

    file: str
    line: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}" + (f"\n    hint: {self.hint}" if self.hint else "")


class FileInvalid(ConfigurationError):
    """A file that a person wrote is invalid; `problems` has every reason."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class PlaybookInvalid(FileInvalid):
    """A playbook is invalid."""


class Refused(StandfastError):
    """A rule forbids the request; the message names the rule and its owner."""

    exit_status = ExitStatus.REFUSED


class ApprovalRefused(Refused):
    """An invalid approval: wrong signature, role, person, plan or age."""


class UnderWay(Refused):
    """The same run is already in progress; nothing was begun."""


class Unsupported(Refused):
    """The provider cannot do this; planning shows it before an approval."""


class Unavailable(StandfastError):
    """The other system does not answer now; the same call may work later.

    `retry_after_seconds` is the pause that the other system requested, or None.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Damaged(StandfastError):
    """Stored history, evidence or backup differs from what was written."""

    exit_status = ExitStatus.DAMAGED
