"""Records of a planned step: its effects, its notice, its approvals.

Planners create these records; the ledger encrypts and stores them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from standfast.records import EffectState, JsonObject

# Returns the digests of the settings of an adapter and of its failovers, by verb and adapter.
Settings = Callable[[str, str], Mapping[str, str]]


def NO_SETTINGS(_verb: str, _connector: str) -> Mapping[str, str]:  # noqa: N802 - a constant
    """Return no digest, for adapters without settings."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An effect to be planned.

    `target` and `details` are personal data, which the ledger encrypts.
    """

    verb: str
    connector: str
    target: str  # as people write it, with its directory: "agents:alice"
    details: JsonObject = field(default_factory=dict)
    state: EffectState = EffectState.PLANNED  # or REFUSED, with a reason
    reason: str = ""
    undoes: str | None = None
    prior: JsonObject | None = None
    not_before: datetime | None = None
    waits_for_a_person: bool = False  # REFUSED only: a person must decide


@dataclass(frozen=True, kw_only=True)
class FrozenNotice:
    """A notice with text and recipients that cannot change any more.

    The Merkle root over the digests of the recipients binds the notice to its recipients.
    """

    template: str
    body: JsonObject  # language → parts with their slots
    digest: str
    root: str  # Merkle root of the recipients' digests, in order
    audience: str
    recipients: int


class StreamedNotice(Protocol):
    """A notice to more people than fit in memory, read page by page."""

    def pages(self) -> Iterator[Sequence[Draft]]:
        """Yield the effects of the notice; each call begins with the first."""

    def notice(self) -> FrozenNotice:
        """Return the frozen notice; call it after all pages were read."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """The plan of one step.

    If `streamed_notice` is set, it replaces `drafts` and `notice`.
    """

    drafts: tuple[Draft, ...] = ()
    streamed_notice: StreamedNotice | None = None
    needs_approvals: int = 0
    roles: tuple[str, ...] = ()
    hold_seconds: int = 0  # abort window before the step runs
    notice: FrozenNotice | None = None
    settings: Settings = NO_SETTINGS  # settings of the adapters: the approval covers their digests
    reason: str = ""
