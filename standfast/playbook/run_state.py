"""Facts about a run of a playbook: an incident at one moment.

The engine reads them.

Owns their shape. Leaves keeping them to the ledger, and what follows from them to `engine`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.model import Playbook
from standfast.records import Json, Mode, Proof, StepState, utc

UNDO_PREFIX = "undo-"  # begins the name of every step that gives back; no playbook can use it
HELD_STEP_PREFIX = "held-"  # begins the name of a step that notifies one held recipient


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The effects of one round of one step, by state."""

    planned: int = 0
    submitting: int = 0
    done: int = 0
    refused: int = 0
    failed: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        return self.under_way + self.done + self.refused + self.failed + self.unknown

    @property
    def under_way(self) -> int:
        return self.planned + self.submitting


@dataclass(frozen=True, kw_only=True)
class StepView:
    """Latest round of one step, from the ledger.

    A step without a view is pending.
    """

    step: str
    round: int  # from 1; a retry is a round of its own
    state: StepState
    counts: Counts = Counts()
    settling: int = 0  # of the unknown ones, those that will be looked up again
    letters: int = 0  # of the unknown ones, those that are written and to be posted, where known
    letters_in: str = ""  # the folder in which they lie
    proof: Proof = Proof.NONE  # the level that each target reaches that is done
    after_canary: int = 0  # of the planned ones, those that follow the first few of a notice
    is_paused: bool = False  # somebody paused the notice: nothing more of it leaves
    answer: str | None = None  # MANUAL, DECIDE
    due_at: datetime | None = None  # WAITING: when it is over
    moved_at: datetime | None = None  # RUNNING: when it began, or something of it was done since
    asked: bool = False  # the approvers were paged
    rung: int = 0  # ASKING: how often the next people were paged since
    escalates_at: datetime | None = None  # ASKING: when the next ones are; None: nobody is left
    opens_at: datetime | None = None  # ASKING: when it begins all the same, its glass broken
    joined: int = 0  # how many joined triggers its targets cover
    digest: str = ""  # ASKING: of what is planned, which an approval signs
    approvals: int = 0  # signatures that verify
    approvals_needed: int = 0  # as fixed when planned; may exceed the playbook's (blast radius)
    why: str = ""  # ASKING: why more is asked than the playbook does, and what else to know
    is_refused: bool = False  # an approver said no
    is_accepted: bool = False  # a person said "go on" about what was not done
    is_unreviewed: bool = False  # it ran on one person's word, and nobody else signed for it yet

    @property
    def is_undo(self) -> bool:
        """Does it give back what the incident changed?"""
        return self.step.startswith(UNDO_PREFIX)

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ValueError(f"step {self.step!r}: rounds count from 1, not {self.round}")
        if self.state is StepState.WAITING and self.due_at is None:
            raise ValueError(f"step {self.step!r} waits, but nothing says until when")
        for name in ("due_at", "moved_at", "escalates_at", "opens_at"):
            if (moment := getattr(self, name)) is not None:
                object.__setattr__(self, name, utc(moment))


@dataclass(frozen=True, kw_only=True)
class State:
    """One incident at one moment: everything that the next move depends on."""

    playbook: Playbook
    mode: Mode
    inputs: Mapping[str, Json] = field(default_factory=dict)
    steps: Mapping[str, StepView] = field(default_factory=dict)  # as `merged` gives them
    earlier: tuple[StepView, ...] = ()  # rounds that are not at their end and not the latest
    extra: tuple[StepView, ...] = ()  # steps outside the playbook: an undo that was asked for
    is_halted: bool = False  # stopped, or closed
    is_closed: bool = False
    joined: int = 0  # how many triggers brought more targets since it was opened
    kept: int = 0  # once an undo was begun: targets that still are as this incident left them
    is_carried: bool = True  # a runner works on it, or a `serve` looks for what is to be done
    incident: str = "INCIDENT"  # its name in the commands that `standing` tells to type
    time_zone: str = "UTC"  # that of the people who read what `standing` says

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Return the notices without recipients to count.

        Their audience could not be read, or is empty.

        What a person went on without is not among them: they saw to it by hand.
        """
        return tuple(
            step.name
            for step in self.playbook.steps
            if step.action == SEND
            and (view := self.steps.get(step.name))
            and (view.state, view.counts.total) == (StepState.FAILED, 0)
            and not view.is_accepted
        )
