"""Errors that callers can see, by the action that they require.

    StandfastError            1  stop: report it and end
    ├── ConfigurationError    2  correct the configuration or the command, then run again
    │   ├── UsageError        2  … the command itself
    │   ├── SecretMissing     2  … a reference that resolves to nothing
    │   ├── FileInvalid       2  … a file that a person wrote; carries every problem with its line
    │   │   └── PlaybookInvalid 2  … a playbook
    │   ├── TemplateInvalid   2  … a notice
    │   ├── OnlyReadable      2  … its user: this one may read the installation, not write it
    │   └── ExtraMissing      2  … an optional package; names the extra to install
    ├── Refused               4  ask the operator: a rule forbids the request
    │   ├── ApprovalRefused   4  … a signature, a role, or the same person twice
    │   ├── UnderWay          4  … the same run is in progress: wait for it
    │   └── Unsupported       4  … the provider cannot do this at all
    ├── Unavailable           1  retry: the other side does not answer
    └── Damaged               6  stop and look: what is stored is not what was written

Rules
- The class has the exit status; the instance has the facts.
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
    ExitStatus.PARTIAL: "partial: some targets were not done, each with its reason",
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
    """A rule forbids the request; the message names it and its owner."""

    exit_status = ExitStatus.REFUSED


class ApprovalRefused(Refused):
    """An invalid approval: wrong signature, role, person, plan or age."""


class UnderWay(Refused):
    """The same run is already in progress; nothing was begun."""


class Unsupported(Refused):
    """The provider cannot do this; planning shows it before an approval."""


class Unavailable(StandfastError):
    """The other side does not answer now; the same call may work later.

    `retry_after_seconds` is the pause that the other side requested, or None.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Damaged(StandfastError):
    """Stored history, evidence or backup differs from what was written."""

    exit_status = ExitStatus.DAMAGED
