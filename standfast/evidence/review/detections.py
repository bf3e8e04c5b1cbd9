"""Detections in a timeline: travel, many accounts, mass access; limits.

    detector = Detector(thresholds, locks)
    for event in events:      # in order of time
        detector.see(event)
    detector.findings

Rules
- A finding names its rule, its threshold, the first lines that support it, and the number of all
  such lines. A finding is a reason to look at these lines, and not a proof.
- Suspicious events of the same account or address within one hour are combined in one finding.
- Memory is bounded. If there are more than MOST_KEYS accounts, addresses or devices, or more than
  MOST_EVENTS events within an hour, further ones are ignored, and `is_complete` is False. Values
  are stored as hashes.
"""

import math
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from standfast.evidence.parsers.log_record import SIGN_IN, SUCCESS
from standfast.evidence.review.log_timeline import Event

MOST_KEYS = 1_000_000
MOST_LINES = 20  # lines of a finding that are stored
MOST_FINDINGS = 1_000
MOST_EVENTS = 1_000_000  # events of the last hour, of all accounts and addresses
_MOST_OF_KEY = 100_000  # events of the last hour, of one account or address
_PRUNED_EVERY = 60 * 10**6  # microseconds between two removals of old events
_HOUR = 3600 * 10**6
_SHORTEST_KM = 100  # the place of an address is not more precise than this
_EARTH_KM = 6371.0

AFTER_LOCK = "sign-in after lock"
MANY_ACCOUNTS = "many accounts from one address"
FIRST_SEEN = "first-seen device or address"
TRAVEL = "impossible travel"
MASS_ACCESS = "mass record access"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The configured limits of the rules."""

    accounts_per_address: int  # accounts that sign in from one address within an hour
    records_per_hour: int  # different objects that one account uses
    known_sign_ins: int  # sign-ins of an account before a new device or address is suspicious
    travel_kmh: int  # fastest plausible travel between the places of two sign-ins
    travel_hours: int  # shortest plausible time between sign-ins in two countries
    counts_records: bool = False  # True: count customer records instead of all objects


@dataclass(frozen=True, kw_only=True)
class LockPeriod:
    """The time in which an account was locked, in microseconds since 1970."""

    account: str  # written as in its directory
    begin: int
    end: int | None = None


@dataclass(kw_only=True)
class Finding:
    """One suspicious pattern that a rule found."""

    rule: str
    threshold: str
    account: str = ""
    address: str = ""
    first: int  # time of the first line, in microseconds since 1970
    last: int
    count: int = 0  # number of all lines
    lines: list[tuple[int, int]] = field(
        default_factory=list
    )  # log and line number of the first lines
    is_selected: bool = False  # True if one of the lines is in the selection of the review

    def add(self, event: "Event | _Line") -> None:
        """Add a line."""
        self.first, self.last = min(self.first, event.at), max(self.last, event.at)
        self.count += 1
        self.is_selected = self.is_selected or event.is_selected
        if len(self.lines) < MOST_LINES:
            self.lines.append((event.log, event.line))


class _Line(NamedTuple):
    """The time and place of an event, and the hash of one of its values."""

    at: int
    log: int
    line: int
    is_selected: bool
    value: int


_PACKED = struct.Struct("<qqq?q")  # a _Line in a third of its memory


@dataclass(kw_only=True)
class _Window:
    """The events of one account or address within an hour, and its finding."""

    events: deque[bytes] = field(default_factory=deque)  # packed lines
    counts: dict[int, int] = field(default_factory=dict)
    finding: Finding | None = None

    def add(self, event: Event, value: str) -> None:
        """Add an event."""
        key = hash(value)
        line = _PACKED.pack(event.at, event.log, event.line, event.is_selected, key)
        self.events.append(line)
        self.counts[key] = self.counts.get(key, 0) + 1

    def prune(self, at: int) -> int:
        """Remove events that are older than an hour; return their number."""
        events, counts, removed = self.events, self.counts, 0
        while events and (line := _unpack(events[0])).at < at - _HOUR:
            events.popleft()
            removed += 1
            counts[line.value] -= 1
            if not counts[line.value]:
                del counts[line.value]
        return removed

    def open(self, finding: Finding) -> None:
        """Open a finding with all events of the window."""
        self.finding = finding
        for line in map(_unpack, self.events):
            finding.add(line)


def _unpack(line: bytes) -> _Line:
    return _Line._make(_PACKED.unpack(line))


@dataclass(kw_only=True)
class _Known:
    """The earlier sign-ins of an account."""

    sign_ins: int = 0
    values: set[int] = field(default_factory=set)  # hashes of its addresses and devices
    last: Event | None = None  # the last sign-in with a place


class Detector:
    """Application of all rules to one timeline."""

    def __init__(self, thresholds: Thresholds, locks: Sequence[LockPeriod]) -> None:
        self._thresholds = thresholds
        self._locks: dict[str, list[LockPeriod]] = {}
        for lock in locks:
            self._locks.setdefault(lock.account.casefold(), []).append(lock)
        self._after_lock: dict[str, Finding] = {}
        self._by_address: dict[int, _Window] = {}
        self._by_account: dict[int, _Window] = {}
        self._known: dict[int, _Known] = {}
        self._keys = self._events = self._pruned_at = 0
        self.findings: list[Finding] = []
        self.is_complete = True

    def see(self, event: Event) -> None:
        """Apply every rule to the next event."""
        if event.action == SIGN_IN:
            self._see_accounts(event)
            if event.result == SUCCESS and event.account:
                self._see_lock(event)
                self._see_known(event)
        elif event.account:
            self._see_access(event)

    def _see_lock(self, event: Event) -> None:
        account = event.account.casefold()
        for lock in self._locks.get(account, ()):
            if lock.begin < event.at and (lock.end is None or event.at < lock.end):
                finding = self._after_lock.get(account) or self._new_finding(
                    AFTER_LOCK, "any successful sign-in while locked", event, account=event.account
                )
                self._after_lock[account] = finding
                finding.add(event)
                return

    def _see_accounts(self, event: Event) -> None:
        if not event.address or not event.account:
            return
        limit, account = self._thresholds.accounts_per_address, event.account.casefold()
        window = self._add(self._by_address, event.address, event, account, limit)
        if window is not None and window.finding is None:
            threshold = f"{limit} accounts an hour"
            window.open(self._new_finding(MANY_ACCOUNTS, threshold, event, address=event.address))

    def _see_access(self, event: Event) -> None:
        limit, account = self._thresholds.records_per_hour, event.account.casefold()
        counts_records = self._thresholds.counts_records
        for value in event.records if counts_records else filter(None, (event.object,)):
            window = self._add(self._by_account, account, event, value, limit)
            if window is not None and window.finding is None:
                threshold = f"{limit} objects an hour"
                window.open(self._new_finding(MASS_ACCESS, threshold, event, account=event.account))

    def _add(
        self, windows: dict[int, _Window], key: str, event: Event, value: str, limit: int
    ) -> _Window | None:
        """Add an event to its window; return the window at the limit, else None."""
        window = windows.get(hash(key))
        if window is None:
            if not self._may_follow():
                return None
            window = windows[hash(key)] = _Window()
        self._events -= window.prune(event.at)
        if self._may_keep(window, event.at):
            window.add(event, value)
            self._events += 1
        if len(window.counts) < limit:
            window.finding = None
            return None
        if window.finding is not None:
            window.finding.add(event)
        return window

    def _see_known(self, event: Event) -> None:
        account = hash(event.account.casefold())
        known = self._known.get(account)
        if known is None:
            if not self._may_follow():
                return
            known = self._known[account] = _Known()
        values = {"address": event.address, "device": event.device}
        seen = {kind: hash((kind, value)) for kind, value in values.items() if value}
        new = [kind for kind, value in seen.items() if value not in known.values]
        limit = self._thresholds.known_sign_ins
        if new and known.sign_ins >= limit:
            self._new_finding(
                FIRST_SEEN,
                f"new {' and '.join(new)} after {limit} sign-ins",
                event,
                account=event.account,
                address=event.address,
            ).add(event)
        for kind in new:
            if self._may_follow():
                known.values.add(seen[kind])
        known.sign_ins += 1
        if event.place:
            if known.last is not None and (why := self._travel(known.last, event)):
                finding = self._new_finding(TRAVEL, why, known.last, account=event.account)
                finding.add(known.last)
                finding.add(event)
            known.last = event

    def _travel(self, before: Event, after: Event) -> str:
        """Return the limit that the travel between two places exceeds, or ""."""
        hours = (after.at - before.at) / _HOUR
        start, end = before.place.split(" "), after.place.split(" ")
        if len(start) == len(end) == 3:
            distance = _distance_km(*map(float, (*start[1:], *end[1:])))
            limit = self._thresholds.travel_kmh
            is_too_fast = distance > _SHORTEST_KM and distance > limit * hours
            return f"{distance:,.0f} km at more than {limit} km/h" if is_too_fast else ""
        limit = self._thresholds.travel_hours
        is_too_fast = start[0] != end[0] and "-" not in (start[0], end[0]) and hours < limit
        return f"two countries within {limit} hours" if is_too_fast else ""

    def _new_finding(
        self, rule: str, threshold: str, event: Event, *, account: str = "", address: str = ""
    ) -> Finding:
        return self._kept(
            Finding(
                rule=rule,
                threshold=threshold,
                account=account,
                address=address,
                first=event.at,
                last=event.at,
            )
        )

    def _kept(self, finding: Finding) -> Finding:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)
        else:
            self.is_complete = False
        return finding

    def _may_keep(self, window: _Window, at: int) -> bool:
        """Return whether a window may store another event."""
        if self._events >= MOST_EVENTS and at >= self._pruned_at + _PRUNED_EVERY:
            self._pruned_at = at
            for each in (*self._by_address.values(), *self._by_account.values()):
                self._events -= each.prune(at)
        has_room = self._events < MOST_EVENTS and len(window.events) < _MOST_OF_KEY
        self.is_complete = self.is_complete and has_room
        return has_room

    def _may_follow(self) -> bool:
        self._keys += 1
        if self._keys > MOST_KEYS:
            self.is_complete = False
        return self._keys <= MOST_KEYS


def _distance_km(latitude: float, longitude: float, latitude2: float, longitude2: float) -> float:
    """Return the distance of two places on the surface of the earth."""
    first, second = math.radians(latitude), math.radians(latitude2)
    half = math.sin((second - first) / 2) ** 2
    half += (
        math.cos(first) * math.cos(second) * math.sin(math.radians(longitude2 - longitude) / 2) ** 2
    )
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(half, 1.0)))
