"""Frozen records of a playbook: the result of `load`.

Everything else reads them.

Owns the words of a playbook. Leaves reading YAML to `load`, and soundness to `check`: a record here
may still name a step or an action that does not exist.

Rules
- Names of steps and inputs are lower-case identifiers, because expressions spell them.
- Steps stand in the order of the file; `needs` alone decides what waits for what. Those of them
  that stand in `after` only have to be over, whatever they came to, or stuck: what does not depend
  on a lock must not wait because one directory is down or hangs.
- A playbook's `roles` says what each person does, for the phone list; a role that a step names
  stands there as soon as the playbook lists any.
- A step's `by` says who does it, and somebody else may type that it is done: who pulls a cable does
  not sit at the keyboard. Its `roles` is a right: only who has one of them may answer.
- `approval` is present only when signatures are needed. A step that is let through without, though
  it cannot be undone, says why in `no_approval_because`.
- A playbook is its text: `source` and `digest` are what an incident freezes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from standfast.records import Json

AT_A_TABLE = "tabletop-"  # how the playbook is called that a tabletop exercise freezes


class InputType(StrEnum):
    """Value of an input after parsing."""

    ACCOUNTS = "accounts"  # a list of account names
    TEXT = "text"
    FLAG = "flag"  # true or false
    NUMBER = "number"  # a whole number
    CHOICE = "choice"  # one of the options
    TIME = "time"  # a moment, as `records.timestamp` writes it


class StepKind(StrEnum):
    """Kind of a step, which determines how it is carried out."""

    DO = "do"  # this program, by an action of the registry
    MANUAL = "manual"  # a person acts, and says what came of it
    DECIDE = "decide"  # a person picks one of the options
    WAIT = "wait"  # nobody: time passes


class OnPartial(StrEnum):
    """Consequence of a result in which only some targets were done."""

    GO_ON = "go_on"  # containment: what is locked must be proven, whatever the rest says
    HOLD = "hold"  # the irreversible: a person looks first


@dataclass(frozen=True, kw_only=True)
class Input:
    """One thing the operator hands over when the incident opens."""

    name: str
    type: InputType
    description: str = ""
    required: bool = False
    default: Json = None
    options: tuple[str, ...] = ()  # CHOICE only
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Approval:
    """Number and roles of the other people that must sign a step."""

    count: int  # at least 1
    roles: tuple[str, ...] = ()  # any of them; empty = any approver
    escalate_after_minutes: int = 15  # unanswered for so long, the next people are reached
    reason: str = ""  # shown to the approver: why a second person is asked


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; the fields that its kind does not use stay empty."""

    name: str
    title: str
    kind: StepKind
    needs: tuple[str, ...] = ()  # all that must be over, what stands in `after` as well
    after: tuple[str, ...] = ()  # of these, the ones that may have failed
    when: str | None = None  # an expression; false skips the step
    action: str | None = None  # DO: a verb of the registry
    arguments: Mapping[str, Json] = field(default_factory=dict)  # DO: literals and `{{ … }}`
    instructions: str = ""  # MANUAL
    question: str = ""  # DECIDE
    facts: tuple[str, ...] = ()  # DECIDE: what to find out before answering
    options: tuple[str, ...] = ()  # DECIDE
    by: tuple[str, ...] = ()  # MANUAL, DECIDE: who does it, for people to read
    roles: tuple[str, ...] = ()  # MANUAL, DECIDE: who may answer; empty = whoever runs it
    wait_seconds: int = 0  # WAIT
    approval: Approval | None = None
    no_approval_because: str = ""
    undo: str | None = None  # DO: the verb that takes it back
    on_partial: OnPartial = OnPartial.HOLD
    line: int = 0
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def line_of(self, key: str) -> int:
        """Return the line of a key, or that of the step.

        Keys are such as `when` or `with.template`.
        """
        return self.lines.get(key, self.line)


@dataclass(frozen=True, kw_only=True)
class Playbook:
    """A playbook as its file says it."""

    name: str
    version: int
    title: str
    use_when: str  # one plain sentence, for the person who must choose at 3 a.m.
    instead: Mapping[str, str] = field(default_factory=dict)  # a better playbook: when to take it
    roles: Mapping[str, str] = field(default_factory=dict)  # who is needed: what they do
    is_quiet: bool = False  # tells nobody: no notice, and no page beyond the roles it names
    inputs: tuple[Input, ...] = ()
    steps: tuple[Step, ...]
    source: str = field(repr=False)  # the YAML text
    digest: str  # SHA-256 of the text in UTF-8, in hex
    file: str  # the name to show in problems; never opened
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def step(self, name: str) -> Step:
        """Return the step of that name; raise KeyError when there is none."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(f"playbook {self.name!r} has no step {name!r}")

    def input(self, name: str) -> Input:
        """Return the input of that name; raise KeyError when there is none."""
        for given in self.inputs:
            if given.name == name:
                return given
        raise KeyError(f"playbook {self.name!r} has no input {name!r}")
