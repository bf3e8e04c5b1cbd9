"""Records of a planned step: its effects, its notice, its approvals.

An effect is one act on one target outside Standfast, such as the lock of one account. Planners
create these records; the ledger (the database of incidents) encrypts and stores them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from standfast.records import EffectState, JsonObject

# A function that returns the digests of the settings of an adapter, and of the adapters that
# replace it if it fails. Its arguments are the verb (the name of an action) and the name of the
# adapter.
Settings = Callable[[str, str], Mapping[str, str]]


def NO_SETTINGS(_verb: str, _connector: str) -> Mapping[str, str]:  # noqa: N802 - a constant
    """Return no digest, for adapters without settings."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An effect that a planner proposes.

    `target` and `details` are personal data, which the ledger encrypts.
    """

    verb: str
    connector: str
    target: str  # as people write it, with its directory: "agents:alice"
    details: JsonObject = field(default_factory=dict)
    state: EffectState = EffectState.PLANNED  # or REFUSED, with a reason
    reason: str = ""
    undoes: str | None = None  # of an undo: the token (unique id) of the effect that it reverses
    prior: JsonObject | None = None  # of an undo: the state of the target before that effect
    not_before: datetime | None = None
    waits_for_a_person: bool = False  # REFUSED only: a person must decide about the target


@dataclass(frozen=True, kw_only=True)
class FrozenNotice:
    """A notice with text and recipients that cannot change any more.

    The root of a Merkle tree over the messages binds the notice to its recipients.
    """

    template: str
    body: JsonObject  # language → parts, with slots for the values of a recipient
    digest: str
    root: str  # Merkle root of the digests of the messages, in order
    audience: str
    recipients: int


class StreamedNotice(Protocol):
    """A notice to more people than fit in memory, read page by page."""

    def pages(self) -> Iterator[Sequence[Draft]]:
        """Yield the effects of the notice; each call begins with the first."""

    def notice(self) -> FrozenNotice:
        """Return the notice with its final texts, after all pages were read."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """The plan of one step: its effects and the approvals that it needs.

    If `streamed_notice` is set, it replaces `drafts` and `notice`.
    """

    drafts: tuple[Draft, ...] = ()
    streamed_notice: StreamedNotice | None = None
    needs_approvals: int = 0
    roles: tuple[str, ...] = ()
    hold_seconds: int = 0  # abort window: the time between the approval and the first message
    notice: FrozenNotice | None = None
    settings: Settings = NO_SETTINGS  # settings of the adapters: the approval covers their digests
    reason: str = ""
