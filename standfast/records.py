"""Records that all layers share: states, proofs, limits, canonical JSON.

An effect is one change of one target outside Standfast, such as one locked account. An `Order` asks
an adapter (the code that connects to one external system) for an effect; a `Result` reports the
outcome of the effect.

Rules
- Records are frozen and keyword-only; raw dictionaries are used only where TOML, YAML, JSON or rows
  are parsed.
- Datetimes are aware and UTC; anything else is rejected at the boundary (`utc`).
- `canonical` is RFC 8785 for the permitted values: strings, whole numbers below 2^53, true, false,
  null, lists, and objects with ASCII keys. Floats are refused, because programs print them
  differently.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias, cast

Json: TypeAlias = bool | int | str | Sequence["Json"] | Mapping[str, "Json"] | None
JsonObject: TypeAlias = Mapping[str, Json]
Now: TypeAlias = Callable[[], datetime]  # returns the present time; the type of each `clock`

_WRITER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_PLAUSIBLE_YEARS = range(1900, 3000)
_LARGEST_EXACT_INTEGER = 2**53 - 1  # exact in an IEEE 754 double (RFC 8785 3.2.2.3)


def serve_way(role: str) -> str:
    """Return the name of a role of `standfast serve` in the database.

    A role is the part of `serve` that one process runs. `respond`, which resumes incidents, is
    recorded like `all`.
    """
    return "serve" if role in ("all", "respond") else f"serve {role}"


def utc(moment: datetime) -> datetime:
    """Convert a moment to UTC; ValueError if it has no time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone is refused: {moment.isoformat()}")
    return moment.astimezone(UTC)


def timestamp(moment: datetime) -> str:
    """Format a moment in UTC with microseconds and `Z`.

    Sorting the texts sorts the moments.
    """
    # Not strftime: its %Y may have fewer than four digits, which `moment` could not parse.
    return utc(moment).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Parse the output of `timestamp`."""
    return utc(datetime.fromisoformat(text))


def typed_time_to_utc(moment: datetime) -> datetime:
    """Convert a moment that a person typed to UTC; ValueError if implausible.

    A year such as 26 or 9999 is refused: a zone or a period could lead to a date outside the
    calendar.
    """
    if moment.year not in _PLAUSIBLE_YEARS:
        raise ValueError(f"the year {moment.year} is not plausible")
    return utc(moment)


def canonical(value: Json) -> bytes:
    """Encode a value as canonical JSON (RFC 8785); ValueError if impossible."""
    _refuse_ambiguous_values(value)
    return _WRITER.encode(value).encode()


def digest(value: Json) -> str:
    """Return the SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _refuse_ambiguous_values(value: Json) -> None:
    # The most frequent types come first, because this runs for each of a million recipients.
    kind = type(value)
    if kind is str or value is None:
        return
    if kind is list or kind is tuple:
        for inner in cast("Sequence[Json]", value):
            if type(inner) is not str:
                _refuse_ambiguous_values(inner)
        return
    if kind is dict:
        for key, inner in cast("dict[str, Json]", value).items():
            if not key.isascii():
                raise ValueError("object keys must be ASCII text")
            if type(inner) is not str:
                _refuse_ambiguous_values(inner)
        return
    if isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > _LARGEST_EXACT_INTEGER:
            raise ValueError("a whole number beyond 2^53 has no one form in JSON")
    elif isinstance(value, Mapping):
        _refuse_ambiguous_values(dict(value))
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_ambiguous_values(inner)
    else:
        raise ValueError(f"{type(value).__name__} has no one form in JSON")


class Mode(StrEnum):
    """The systems that an incident can reach; fixed when the incident opens."""

    PLAN = "plan"  # reads only
    EXERCISE = "exercise"  # simulators; nothing live can be reached
    LIVE = "live"


class EffectState(StrEnum):
    """State of one effect. UNKNOWN is not a failure: it may have happened."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    DONE = "done"
    REFUSED = "refused"  # a rule or the provider refused it; another attempt will not help
    FAILED = "failed"  # the effect did not happen; another attempt may help
    UNKNOWN = "unknown"  # the effect may have happened: look it up or ask, never repeat blindly


class StepState(StrEnum):
    """State of one step of a playbook."""

    ASKING = "asking"  # effects are planned and wait for approvals
    PROMPTED = "prompted"  # a person must act or decide
    WAITING = "waiting"  # waits until a moment
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"  # some targets done, some not, each named
    FAILED = "failed"  # no target done
    REFUSED = "refused"  # an approver refused it
    SKIPPED = "skipped"  # its `when` was false

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset(
    {StepState.DONE, StepState.PARTIAL, StepState.FAILED, StepState.REFUSED, StepState.SKIPPED}
)


class Proof(StrEnum):
    """Proof levels of a lock, weakest first."""

    NONE = "none"
    READ_BACK = "read_back"  # the directory shows the lock
    CONNECTIONS_GONE = "connections_gone"  # and no connection is open; sessions are not counted
    SESSIONS_GONE = "sessions_gone"  # in addition: no session or token
    REFUSED = "refused"  # in addition: a sign-in as a test account or the holder was refused

    @property
    def words(self) -> str:
        """Short description of the level, for people."""
        return _PROOF_WORDS[self]

    def reaches(self, other: "Proof") -> bool:
        order = list(Proof)
        return order.index(self) >= order.index(other)

    @staticmethod
    def weakest(found: Iterable["Proof"]) -> "Proof":
        """Return the lowest of some levels; NONE if there are none."""
        return min(found, key=list(Proof).index, default=Proof.NONE)


_PROOF_WORDS = {
    Proof.NONE: "not proven",
    Proof.READ_BACK: "read back only",
    Proof.CONNECTIONS_GONE: "no directory connection",
    Proof.SESSIONS_GONE: "no session listed",
    Proof.REFUSED: "sign-in refused",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Call limits of an adapter, from the limits of its provider."""

    batch: int = 1  # targets in one call, 1 to 1,000
    workers: int = 16  # calls at once
    per_second: float | None = None  # token bucket over targets; None = no limit
    burst: int = 16
    timeout_seconds: float = 10.0  # after this time the call is cut off, and its result is unknown
    is_local: bool = False  # this process acts itself, so that nothing can happen after its end


@dataclass(frozen=True, kw_only=True)
class Order:
    """Request for one effect, as an adapter receives it."""

    token: str  # idempotency key or Message-ID, the same in every attempt
    verb: str  # "accounts.lock"
    target: str  # the name within its directory; personal
    details: JsonObject = field(default_factory=dict)  # further values; personal
    prior: JsonObject | None = None  # the state before the first change; an undo restores it


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of one effect, for one target.

    `reason` is for people and has no personal data. `facts` may be personal; the ledger (the
    database of incidents) encrypts them.
    """

    target: str
    state: EffectState  # DONE, REFUSED, FAILED or UNKNOWN
    reason: str = ""
    facts: JsonObject = field(default_factory=dict)
    proof: Proof = Proof.NONE
    retry_after_seconds: float | None = None  # FAILED only: retry after this pause
    is_untried: bool = False  # FAILED only: the call ended before this target; no attempt was made
    only_a_person_can_tell: bool = False  # UNKNOWN only: no lookup can show the outcome
    may_go_elsewhere: bool = False  # REFUSED only: another channel may accept it


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Result of looking up one target without changing it.

    `happened` states whether the order has taken effect; None if this cannot be determined. `state`
    is stored before the first change, and an undo restores it. `identity` has the keys of `state`
    that identify the target even after it was renamed; empty if there are none.
    """

    target: str
    exists: bool = True
    is_readable: bool = True  # False: the target could not be read; look it up again
    happened: bool | None = None
    state: JsonObject = field(default_factory=dict)
    identity: tuple[str, ...] = ()
    reason: str = ""

    def is_another_than(self, prior: JsonObject) -> bool:
        """Return whether the name now belongs to another target than `prior`."""
        known = [key for key in self.identity if key in self.state and key in prior]
        return any(self.state[key] != prior[key] for key in known)


class DeliveryState(StrEnum):
    """State of a message after it was sent, as far as its provider reports it."""

    TAKEN = "taken"  # the provider accepted it
    DEFERRED = "deferred"  # the mailbox deferred it; the provider tries again
    DELIVERED = "delivered"
    BOUNCED = "bounced"  # the mailbox rejected it
    DROPPED = "dropped"  # the provider did not send it


@dataclass(frozen=True, kw_only=True)
class DeliveryEvent:
    """A provider's report about one message that it accepted."""

    token: str
    state: DeliveryState
    at: datetime
    is_complaint: bool = False  # the reader called it spam
