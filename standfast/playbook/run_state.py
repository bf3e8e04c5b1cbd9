"""State of an incident at one moment: its steps, their rounds and counts.

The ledger (the database of incidents) stores the state, and `engine` computes the next moves (the
changes of single steps) from it. An effect is one act of a step on one target, such as the lock of
one account. An undo restores the state of targets before the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.model import Playbook
from standfast.records import Json, Mode, Proof, StepState, utc

UNDO_PREFIX = "undo-"  # prefix of the names of undo steps; no playbook can use it
# Prefix of the names of steps that notify one recipient after the decision of a person.
HELD_STEP_PREFIX = "held-"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The numbers of effects of one round of a step, by state."""

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
    """One round of a step, from the ledger; a step without rounds is pending.

    A round is one planning of the step, for example at the start or for added targets. A comment
    that begins with a name in capitals applies only to that state or kind of step.
    """

    step: str
    round: int  # from 1
    state: StepState
    counts: Counts = Counts()
    settling: int = 0  # effects with an unknown outcome that will be looked up again
    letters: int = 0  # effects with an unknown outcome that are letters to be posted, if known
    letters_in: str = ""  # folder of these letters
    proof: Proof = Proof.NONE  # the weakest proof of a lock among the done targets
    after_canary: int = 0  # planned messages that wait for the canary (the first few messages)
    is_paused: bool = False  # somebody paused the notice
    answer: str | None = None  # MANUAL, DECIDE
    due_at: datetime | None = None  # WAITING: the end of the wait
    moved_at: datetime | None = None  # RUNNING: its start or its last progress
    is_asked: bool = False  # ASKING: the approvers were paged
    level: int = 0  # ASKING: number of escalations
    escalates_at: datetime | None = None  # ASKING: the next escalation; None: no further level
    opens_at: datetime | None = None  # ASKING: when a break-glass approval (of one person) is valid
    joined: int = 0  # number of later additions of targets that this round covers
    digest: str = ""  # ASKING: digest of the plan, which an approval signs
    approvals: int = 0  # valid signatures
    approvals_needed: int = 0  # as the plan states; a lock of many accounts may need more
    why: str = ""  # ASKING: why more approvals are needed, and other notes
    is_refused: bool = False  # an approver refused the step
    is_accepted: bool = False  # a person accepted the result although it is incomplete
    is_unreviewed: bool = False  # the step ran by a break-glass approval that nobody reviewed yet

    @property
    def is_undo(self) -> bool:
        """Return whether the step is an undo step."""
        return self.step.startswith(UNDO_PREFIX)

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ValueError(f"step {self.step!r}: rounds count from 1, not {self.round}")
        if self.state is StepState.WAITING and self.due_at is None:
            raise ValueError(f"step {self.step!r} waits without an end")
        for name in ("due_at", "moved_at", "escalates_at", "opens_at"):
            if (moment := getattr(self, name)) is not None:
                object.__setattr__(self, name, utc(moment))


def merged(rounds: Sequence[StepView]) -> StepView:
    """Return the latest round of a step, with the targets of all its rounds.

    `rounds` is in order. If an approver refused the latest round, return this round alone. Earlier
    rounds that were refused are left out.
    """
    latest = rounds[-1]
    counted = [view for view in rounds if view.state is not StepState.REFUSED]
    if latest.state is StepState.REFUSED or len(counted) < 2:
        return latest
    short = [view for view in counted if view.counts.done < view.counts.total]
    return replace(
        latest,
        counts=Counts(
            **{
                name: sum(getattr(view.counts, name) for view in counted)
                for name in Counts.__dataclass_fields__
            }
        ),
        settling=sum(view.settling for view in counted),
        after_canary=sum(view.after_canary for view in counted),
        proof=Proof.weakest(view.proof for view in counted if view.counts.done),
        is_paused=any(view.is_paused for view in counted),
        is_accepted=bool(short) and all(view.is_accepted for view in short),
        is_unreviewed=any(view.is_unreviewed for view in counted),
    )


@dataclass(frozen=True, kw_only=True)
class State:
    """State of one incident: everything on which the next moves depend."""

    playbook: Playbook
    mode: Mode
    inputs: Mapping[str, Json] = field(default_factory=dict)
    steps: Mapping[str, StepView] = field(default_factory=dict)  # as `merged` returns them
    earlier: tuple[StepView, ...] = ()  # earlier rounds that have not ended
    extra: tuple[StepView, ...] = ()  # steps outside the playbook, such as an undo
    is_stopped_or_closed: bool = False
    is_closed: bool = False
    joined: int = 0  # number of additions of targets, by people or by messages of other systems
    unrestored_count: int = 0  # after an undo: targets that are not restored
    has_runner: bool = True  # a process works on the incident, or `standfast serve` will
    incident: str = "INCIDENT"  # the incident's name in the commands that `status` writes
    time_zone: str = "UTC"  # time zone of the people that read the texts of `status`

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Return the notice steps that have no recipients, or no readable list.

        Notices whose failure a person accepted are not included.
        """
        return tuple(
            step.name
            for step in self.playbook.steps
            if step.action == SEND
            and (view := self.steps.get(step.name))
            and (view.state, view.counts.total) == (StepState.FAILED, 0)
            and not view.is_accepted
        )
