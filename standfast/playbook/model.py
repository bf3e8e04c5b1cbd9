"""Records of a playbook: inputs, steps, approvals, made by `parser`.

A playbook describes the response to one kind of incident. A record may still name a step or an
action that does not exist; `validation` reports it.

Rules
- Names of steps and inputs are lower-case identifiers, because expressions use them.
- Steps have the order of the file, but a step waits only for the steps in its `needs`. If a needed
  step is also in `after`, the wait ends when the needed step has ended with any result, or has made
  no progress for a minute. So an approved notice (a message to the people that an incident
  concerns) can follow the lock of accounts even if an account directory is down.
- The playbook's `roles` describes the task of each role, for the phone list. If `roles` is not
  empty, it contains every role that a step names.
- A step's `by` names the roles that do the step, but does not limit the answer to them. If `roles`
  is set, only a person with one of these roles may answer the step or report its result.
- `approval` is set only if the step needs signatures of other people. If an irreversible step needs
  no approval, `no_approval_because` has the reason.
- A playbook is identified by its text: an incident stores `source` and `digest`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from standfast.records import Json

TABLETOP_PREFIX = "tabletop-"  # prefix of the playbook names of tabletop exercises


class InputType(StrEnum):
    """Type of the value of an input."""

    ACCOUNTS = "accounts"  # a list of account names
    TEXT = "text"
    FLAG = "flag"  # true or false
    NUMBER = "number"  # a whole number
    CHOICE = "choice"  # one of the options
    TIME = "time"  # a moment, as `records.timestamp` writes it


class StepKind(StrEnum):
    """Kind of a step, which determines how it is carried out."""

    DO = "do"  # the program carries out an action
    MANUAL = "manual"  # a person acts and reports the result
    DECIDE = "decide"  # a person chooses one of the options
    WAIT = "wait"  # the playbook waits for a length of time


class OnPartial(StrEnum):
    """Consequence for later steps if only some targets of a step were done."""

    GO_ON = "go_on"  # later steps begin: for example, the proof for the accounts that were locked
    HOLD = "hold"  # later steps wait for a person; default of irreversible actions


@dataclass(frozen=True, kw_only=True)
class Input:
    """One value that the operator supplies when an incident is opened."""

    name: str
    type: InputType
    description: str = ""
    required: bool = False
    default: Json = None
    options: tuple[str, ...] = ()  # CHOICE only
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Number and roles of the people that must sign a step."""

    count: int  # at least 1
    roles: tuple[str, ...] = ()  # approvers need one of these roles; empty: any approver
    escalate_after_minutes: int = 15  # time without an answer until the next people are paged
    reason: str = ""  # for the approver: why the approval is needed


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; the fields that its kind does not use stay empty."""

    name: str
    title: str
    kind: StepKind
    needs: tuple[str, ...] = ()  # steps that must have ended, including those in `after`
    after: tuple[str, ...] = ()  # needs that may have failed
    when: str | None = None  # an expression; false skips the step
    action: str | None = None  # DO: the name of an action, such as "accounts.lock"
    arguments: Mapping[str, Json] = field(default_factory=dict)  # DO: literals and `{{ … }}`
    instructions: str = ""  # MANUAL
    question: str = ""  # DECIDE
    facts: tuple[str, ...] = ()  # DECIDE: points that the person finds out before answering
    options: tuple[str, ...] = ()  # DECIDE
    by: tuple[str, ...] = ()  # MANUAL, DECIDE: roles that do it, for people to read
    roles: tuple[str, ...] = ()  # MANUAL, DECIDE: roles that may answer; empty: everybody
    wait_seconds: int = 0  # WAIT
    approval: Approval | None = None
    no_approval_because: str = ""
    undo: str | None = None  # DO: the name of the action that restores the state before the step
    on_partial: OnPartial = OnPartial.HOLD
    line: int = 0
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def line_of(self, key: str) -> int:
        """Return the line of a key of the step, such as `with.template`.

        A key that the file does not contain has the line of the step.
        """
        return self.lines.get(key, self.line)


@dataclass(frozen=True, kw_only=True)
class Playbook:
    """A playbook, as in its file."""

    name: str
    version: int
    title: str
    use_when: str  # one plain sentence: the kind of incident for which it is written
    instead: Mapping[str, str] = field(default_factory=dict)  # other playbook: when to use it
    roles: Mapping[str, str] = field(default_factory=dict)  # role: its task
    is_quiet: bool = False  # sends no notice, and pages only the roles that the steps name
    inputs: tuple[Input, ...] = ()
    steps: tuple[Step, ...]
    source: str = field(repr=False)  # the YAML text
    digest: str  # SHA-256 of the text in UTF-8, in hex
    file: str  # the name that problems show; the file is not opened
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def step(self, name: str) -> Step:
        """Return the step of that name; KeyError if it is missing."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(f"playbook {self.name!r} has no step {name!r}")

    def input(self, name: str) -> Input:
        """Return the input of that name; KeyError if it is missing."""
        for given in self.inputs:
            if given.name == name:
                return given
        raise KeyError(f"playbook {self.name!r} has no input {name!r}")
